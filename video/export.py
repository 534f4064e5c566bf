"""What of an action classifier becomes graphs: the encoder of frames, the network over their features.

Notation: M images, N clips, S streams, T frames, F numbers of a frame, K classes.
"""

import torch

from common.export import Looking, Traced, sample_images
from video.model import VideoModel


def graphs(model: VideoModel) -> dict[str, Traced]:
    """The graphs of a model, with frames and clips to trace and to compare."""
    looking, steps, streams = Looking(model, model.encode), model.config.frames, len(model.config.streams)
    images = [sample_images(model.encoder.preprocess, count) for count in (2, 1, 3)]
    generator, clips = torch.Generator().manual_seed(0), []
    with torch.inference_mode():
        seen = looking(images[0])
        size, typical = seen.shape[1], float(seen.abs().mean())
    for longest, lengths in ((steps, (steps, 1)), (max(1, steps // 2), (1,)), (steps, (1, steps, 1))):
        if model.config.head == "convlstm":  # its steps are written out one by one
            longest = steps
        features = torch.randn(len(lengths), streams, longest, size, generator=generator)
        clips.append((typical * features, torch.tensor(lengths).clamp(max=longest)))
    return {
        "look": Traced(looking, [(each,) for each in images]),
        "classify": Traced(model.network, clips),
    }
