"""Caption the photos of a folder into a table, with how sure the model is of each.

python examples/caption_folder.py FOLDER captions.csv
"""

import csv
import sys
from pathlib import Path

from captioning import Captioner
from common.errors import VisionError


def main(folder: Path, table: Path) -> None:
    """Write a row for each photo; one that cannot be read gets its error in place of a caption."""
    photos = sorted(folder.glob("*.jpg"))
    captioner = Captioner.from_pretrained("flickr8k")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "caption", "log probability"])
        for photo, caption in zip(photos, captioner.caption_each(photos, beam_size=5), strict=True):
            if isinstance(caption, VisionError):
                writer.writerow([photo.name, f"error: {caption}", ""])
            else:
                writer.writerow([photo.name, caption.text, f"{caption.log_prob:.2f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
