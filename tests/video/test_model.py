from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.errors import UsageError
from common.training import TrainConfig
from tests.conftest import by_threads, on_both_engines
from tests.video.conftest import moving_square, tiny_classifier, write_video
from video.classifier import ActionClassifier
from video.config import ClipConfig
from video.data import ClipBatch, drop_frames, sample, shuffle_frames, warped
from video.model import ClipNetwork, ConvLSTM, VideoModel
from video.system import VideoSystem

MAPS = [(6, 2, 3)]
HEADS = ["mean", "rnn", "lstm", "gru", "convlstm"]


def network(head="gru", **sizes):
    torch.manual_seed(0)
    values = {"streams": ("appearance", "difference"), "head": head, "place_size": 4, "hidden_size": 8,
              "dropout": 0.0, **sizes}  # fmt: skip
    return ClipNetwork(ClipConfig(**values), MAPS, 5)


def clips(rows=3, steps=7):
    return torch.randn(rows, 2, steps, 36, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("places", ["grid", "mean"])
def test_shapes_and_gradients(head, fusion, places):
    if places == "mean" and head == "convlstm":
        with pytest.raises(UsageError, match="needs the grid"):
            network(head, places=places)
        return
    model = network(head, fusion=fusion, places=places)
    logits = model(clips(), torch.tensor([7, 3, 1]))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "sizes",
    [{"head": head, "pool": pool} for head in HEADS for pool in ("last", "mean", "attention")]
    + [{"head": head, "places": "mean"} for head in ("mean", "gru")],
)
def test_frames_behind_the_length_change_nothing(sizes):
    model, features, lengths = network(**sizes).eval(), clips(), torch.tensor([7, 3, 1])
    spoilt = features.clone()
    spoilt[1, :, 3:], spoilt[2, :, 1:] = 99.0, -99.0
    with torch.inference_mode():
        together = model(features, lengths)
        torch.testing.assert_close(model(spoilt, lengths), together)
        for row, length in enumerate(lengths.tolist()):
            alone = model(features[row : row + 1, :, :length], lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


def test_only_the_mean_cannot_know_the_order():
    features, lengths = clips(), torch.tensor([7, 5, 6])
    shuffled = shuffle_frames(features, lengths)
    for row, length in enumerate(lengths.tolist()):  # the same frames, all streams in one order
        moved = [
            next(t for t in range(length) if torch.equal(features[row, :, t], shuffled[row, :, k]))
            for k in range(length)
        ]
        assert sorted(moved) == list(range(length))
    for head in HEADS:
        model = network(head).eval()
        with torch.inference_mode():
            before, after = model(features, lengths), model(shuffled, lengths)
        assert torch.allclose(before, after, atol=1e-5) == (head == "mean"), head


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_can_be_learnt(head):
    model, features, lengths = network(head, hidden_size=32), clips(5), torch.full((5,), 7)
    optimizer, labels = torch.optim.Adam(model.parameters(), 1e-2), torch.arange(5)
    for _ in range(60):
        loss = F.cross_entropy(model(features, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_pooled_frames_are_levelled_by_what_is_inside_the_clips_alone():
    model, features, lengths = network(places="mean"), clips(), torch.tensor([7, 3, 1])
    spoilt = features.clone()
    spoilt[1, :, 3:], spoilt[2, :, 1:] = 99.0, -99.0
    torch.testing.assert_close(model(spoilt, lengths), network(places="mean")(features, lengths))
    level = model.heads[0].level
    inside = torch.cat([features[i, 0, :n].unflatten(1, (6, 6)).mean(dim=1) for i, n in enumerate(lengths)])
    torch.testing.assert_close(level.running_mean, 0.1 * inside.mean(dim=0))


def test_convlstm_equals_a_cell_written_out():
    torch.manual_seed(0)
    cell, maps = ConvLSTM(3, 4), torch.randn(2, 5, 3, 4, 6)
    hidden = memory = torch.zeros(2, 4, 4, 6)
    for step in range(5):
        convolved = F.conv2d(maps[:, step], cell.inputs.weight, cell.inputs.bias, padding=1)
        convolved = convolved + F.conv2d(hidden, cell.states.weight, padding=1)
        i, f, g, o = convolved.chunk(4, dim=1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
    torch.testing.assert_close(cell(maps, torch.tensor([5, 5])), hidden)


def test_sampling_takes_one_frame_of_each_part():
    steps = torch.arange(12.0).view(1, 1, 12, 1).expand(2, 2, -1, -1)
    lengths = torch.tensor([12, 3])
    middle, taken = sample(steps, lengths, 4, jitter=False)
    assert taken.tolist() == [4, 3]
    assert middle[0, 0].flatten().tolist() == [1, 4, 7, 10]
    assert middle[1, 1].flatten().tolist()[:3] == [0, 1, 2]
    torch.manual_seed(0)
    drawn = [sample(steps, lengths, 4, jitter=True)[0][0, 1].flatten() for _ in range(50)]
    for part in range(4):
        assert {int(d[part]) for d in drawn} == {3 * part, 3 * part + 1, 3 * part + 2}


def test_a_warped_clip_begins_and_ends_where_it_did_and_never_runs_back():
    moments = torch.full((3, 200), 0.5)
    times = (torch.arange(200) + warped(moments, torch.tensor([0.0, 0.8, -0.8]))) / 200
    torch.testing.assert_close(times[0], (torch.arange(200) + 0.5) / 200)
    assert (times.diff() > 0).all()
    assert times.min() >= 0
    assert times.max() < 1
    speeds = times.diff() * 200
    assert speeds[1, [0, -1]].tolist() == pytest.approx([1.8, 0.2], abs=0.02)
    assert speeds[2, [0, -1]].tolist() == pytest.approx([0.2, 1.8], abs=0.02)


def test_frames_that_are_dropped_leave_no_gap():
    steps = torch.arange(5.0).view(1, 1, 5, 1).expand(3, 2, -1, 2)
    kept = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]).bool()
    found, lengths = drop_frames(steps, torch.tensor([5, 3, 3]), kept)
    assert lengths.tolist() == [3, 2, 1]
    for row, expected in enumerate([[0, 2, 4], [1, 2], [0]]):  # what lies beyond a clip's length is no frame
        for frames in found[row, :, : lengths[row]].unbind(0):
            assert frames[:, 0].tolist() == frames[:, 1].tolist() == expected


def test_training_warps_and_drops_what_it_is_told(monkeypatch):
    model = tiny_classifier()
    batch = ClipBatch(torch.randn(4, 2, 16, 4 * model.encoder.out_channels), torch.tensor([16, 16, 12, 6]),
                      torch.tensor([0, 1, 2, 3]), [0, 1, 2, 3])  # fmt: skip
    seen = []

    of_heads = model.network.of_heads

    def watched(features, lengths):
        seen.append((features, lengths.tolist()))
        return of_heads(features, lengths)

    monkeypatch.setattr(model.network, "of_heads", watched)
    for flags in ({}, {"time_warp": 0.5}, {"drop_frames": 0.5}):
        system = VideoSystem(model, TrainConfig(out=Path("run")), 0.1, **flags)
        monkeypatch.setattr(system, "mean_over_batch", lambda total, count: total / count)
        torch.manual_seed(0)
        assert system.training_step(batch, 0).isfinite()
    (plain, lengths), (bent, same), (_, fewer) = seen
    assert lengths == same == [8, 8, 8, 6]
    assert not torch.equal(plain, bent)
    torch.testing.assert_close(plain[3, :, :6], bent[3, :, :6])  # a clip of few frames has no others
    assert all(few <= many for few, many in zip(fewer, lengths, strict=True))
    assert sum(fewer) < sum(lengths)


def test_save_and_load(tmp_path):

    model = tiny_classifier()
    model.save_pretrained(tmp_path)
    again = VideoModel.from_pretrained(tmp_path)
    assert (again.config, again.labels, again.clip_seconds) == (model.config, model.labels, 0.8)
    features, lengths = torch.randn(1, 2, 6, 4 * model.encoder.out_channels), torch.tensor([6])
    with torch.inference_mode():
        assert torch.equal(model.network(features, lengths), again.network(features, lengths))


def test_a_finer_stride_has_more_places_and_fewer_layers(tmp_path):
    model, coarse = tiny_classifier(strides=(16,)), tiny_classifier()
    assert (model.encoder.grid, coarse.encoder.grid) == ((4, 4), (2, 2))
    assert len(model.encoder.state_dict()) < len(coarse.encoder.state_dict())
    clips = torch.rand(1, 2, 3, 3, 64, 64)
    with torch.inference_mode():
        expected = model(clips)
        model.save_pretrained(tmp_path)
        assert torch.allclose(VideoModel.from_pretrained(tmp_path)(clips), expected, atol=1e-5)


def test_each_head_learns_by_itself(monkeypatch):
    """One that is right leaves the others their loss."""
    model = tiny_classifier()
    system = VideoSystem(model, TrainConfig(out=Path("run")), 0.0)
    monkeypatch.setattr(system, "mean_over_batch", lambda total, count: total / count)
    batch = ClipBatch(torch.randn(4, 2, 8, 4 * model.encoder.out_channels), torch.full((4,), 8),
                      torch.arange(4), [0, 1, 2, 3])  # fmt: skip
    right = 50 * torch.eye(4)
    monkeypatch.setattr(model.network, "of_heads", lambda *inputs: torch.stack([right, torch.zeros(4, 4)]))
    assert system.training_step(batch, 0).item() == pytest.approx(np.log(4) / 2, abs=1e-3)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_each_map_of_each_stream_has_a_head_of_its_own_sizes(fusion):
    several, fine, coarse = (
        tiny_classifier(strides=strides, fusion=fusion) for strides in ((16, 32), (16,), (32,))
    )
    streams = 2 if fusion == "late" else 1
    assert [len(each.network.heads) for each in (several, fine, coarse)] == [2 * streams, streams, streams]
    clips, lengths = torch.rand(1, 2, 3, 3, 64, 64), torch.tensor([3])
    for i, each in enumerate((fine, coarse)):  # as the heads of two models that see one map each
        each.encoder.load_state_dict(
            {name: several.encoder.state_dict()[name] for name in each.encoder.state_dict()}
        )
        each.network.heads = several.network.heads[i::2]
    with torch.inference_mode():
        alone = [each(clips) for each in (fine, coarse)]
        torch.testing.assert_close(several(clips), sum(alone) / 2)
        features = several.encode(clips.flatten(0, 2)).unflatten(0, (1, 2, 3))
        assert several.network.of_heads(features, lengths).shape == (2 * streams, 1, 4)


def test_a_stride_that_the_encoder_does_not_have():
    with pytest.raises(UsageError, match="maps at strides 2, 4, 8, 16, 32; it cannot be cut at stride 12"):
        tiny_classifier(strides=(12,))
    with pytest.raises(UsageError, match="it cannot be cut at stride 12"):
        tiny_classifier(strides=(12, 32))


@pytest.mark.parametrize("head", ["gru", "convlstm"])
@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
def test_a_size_that_is_no_multiple_of_the_stride(head, encoder):
    model = tiny_classifier(head, encoder, 72)
    with torch.inference_mode():
        features = model.encode(torch.rand(16, 3, 72, 72)).unflatten(0, (1, 2, 8))  # N, S, T, F
        assert model.network(features, torch.tensor([8])).shape == (1, len(model.labels))


def test_threads_that_share_a_classifier_name_what_one_names(tmp_path):
    classifier = ActionClassifier(tiny_classifier(), "cpu", "fp32")
    clips = [
        write_video(tmp_path / f"{move}.mp4", moving_square(move, 12)) for move in ("left", "right", "up")
    ]
    alone, together = by_threads(classifier.classify, clips)
    for expected, found in zip(alone, together, strict=True):
        assert found.label == expected.label
        assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    windows = by_threads(lambda clip: [w.probabilities for w in classifier.watch(clip, window=0.3)], clips)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(*windows, strict=True))


@pytest.mark.parametrize(
    "sizes",
    [
        *({"head": head} for head in HEADS),
        {"places": "mean"},
        {"fusion": "early", "bidirectional": False},
        {"strides": (16,), "crop": "content"},
        {"strides": (16, 32)},
    ],
)
def test_the_engine_names_what_torch_names(tmp_path, sizes):
    engine, on_torch = on_both_engines(ActionClassifier, tiny_classifier(**sizes), tmp_path)
    paths = [
        write_video(tmp_path / f"{count}.mp4", moving_square("left", count), rate=10) for count in (1, 5, 40)
    ]
    for found, expected in zip(engine.classify_each(paths), on_torch.classify_each(paths), strict=True):
        assert found.num_frames == expected.num_frames
        assert dict(found.top) == pytest.approx(dict(expected.top), abs=0.02)  # their resizes round otherwise
    windows = [list(classifier.watch(paths[2], window=1.0)) for classifier in (engine, on_torch)]
    assert len(windows[0]) == len(windows[1]) > 3
    for one, other in zip(*windows, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.02)


@pytest.mark.parametrize(("asked", "given"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_the_engine_computes_in_fp32_unless_told_otherwise(tmp_path, asked, given):
    on_both_engines(ActionClassifier, tiny_classifier(), tmp_path)
    assert ActionClassifier.from_pretrained(tmp_path, "cpu", asked, engine="graph").precision == given


def test_where_a_cropped_clip_shows_its_content_changes_nothing(tmp_path):
    """Neither in a clip nor in a recording."""
    paths = []
    for i, (x, y) in enumerate(((16, 24), (192, 96))):
        frames = np.zeros((16, 240, 320, 3), np.uint8)
        for number, square in enumerate(moving_square("right", 16, size=(96, 96))):
            frames[number, y : y + 96, x : x + 96] = square
        paths.append(write_video(tmp_path / f"{i}.mp4", list(frames), rate=20))
    probabilities: dict[str, list[np.ndarray]] = {}
    for crop in ("none", "content"):
        classifier = ActionClassifier(tiny_classifier(crop=crop), "cpu", "fp32")
        probabilities[crop] = [
            np.array([dict(classifier.classify(path).top)[label] for label in classifier.model.labels])
            for path in paths
        ]
        probabilities[f"{crop}, watched"] = [
            np.array(list(classifier.watch(path, window=0.4, stride=0.2))[-1].probabilities) for path in paths
        ]
    change = {kind: np.abs(np.subtract(*pair)).max() for kind, pair in probabilities.items()}
    assert change["content"] < change["none"] / 3
    assert change["content, watched"] < change["none, watched"] / 3
