"""Turn DAQUAR's questions and answers into statements to caption with.

    python scripts/prepare_daquar_captions.py --data DAQUAR --out DIR

"what is on the wall ?" with the answer "picture, clock" becomes "picture and clock is on the wall": the
question's `what` is replaced by the answer, `how many X` by "N X", `what color is X` by "X is COLOR".
Questions of other forms are counted and left out. DIR gets `train.jsonl` and `val.jsonl`.
"""

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from common.cli import run

FORMS = [
    (r"^what (?:colou?rs?) (is|are) (.+)$", r"\2 \1 {answer}"),
    (r"^what (is|are) (?:the )?colou?rs? of (.+)$", r"\2 \1 {answer}"),
    (r"^how many (.+?) (?:are|is) (?:there|present|found)(.*)$", r"there are {answer} \1\2"),
    (r"^how many (.+?) (?:are|is) (.+)$", r"{answer} \1 are \2"),
    (r"^what (?:is|are) the (.*?)(?:objects?|things?|items?) (.+)$", r"{answer} is the \1object \2"),
    (r"^what (?:objects?|things?) (is|are) (.+)$", r"{answer} \1 \2"),
    (r"^what (is|are) (?!the |colou?r)(.+)$", r"{answer} \1 \2"),
]


@dataclass(frozen=True)
class Config:
    """Flags."""

    data: Path
    """Folder with `annotations/` and `images/`."""
    out: Path
    """Folder to write."""


def main(config: Config) -> None:
    """Write both parts."""
    config.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        folder = config.data / "annotations"
        questions = json.loads((folder / f"questions_{split}.json").read_text())["questions"]
        annotations = json.loads((folder / f"annotations_{split}.json").read_text())["annotations"]
        answers = {
            a["question_id"]: " and ".join(a["multiple_choice_answer"].split(", ")) for a in annotations
        }
        statements: dict[int, list[str]] = defaultdict(list)
        for item in questions:
            text = re.sub(r"\s+", " ", item["question"].lower().replace("?", " ")).strip()
            form = next(((p, s) for p, s in FORMS if re.match(p, text)), None)
            if form:
                statement = re.sub(form[0], form[1], text).replace("{answer}", answers[item["question_id"]])
                statements[item["image_id"]].append(statement.replace("_", " "))
        lines = [
            json.dumps(
                {"image": os.path.relpath(config.data / f"images/image{i}.jpg", config.out), "captions": c}
            )
            for i, c in statements.items()
        ]
        (config.out / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        kept = sum(map(len, statements.values()))
        print(f"{split}: {kept} statements on {len(statements)} images from {len(questions)} questions")


if __name__ == "__main__":
    run(main, Config, __doc__)
