"""README, docs and cards: the links lead somewhere, the commands exist, the Python runs."""

import configparser
import importlib
import io
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import tyro
import yaml
from _pytest.mark import ParameterSet
from PIL import Image

from tests.conftest import SCRIPTS, TINY_ENCODER, tiny_model, write_lines, write_shapes, write_weights
from tests.forecasting.conftest import write_series
from tests.language.conftest import tiny_language_model, write_text
from tests.ocr.conftest import line_picture, tiny_recognizer
from tests.segmentation.conftest import IGNORED, tiny_segmenter, write_scenes
from tests.speech.conftest import spoken, tiny_speech, write_speech, write_wav
from tests.translation.conftest import tiny_translator, write_pairs
from tests.video.conftest import moving_square, tiny_classifier, write_clips, write_video
from tests.vqa.conftest import tiny_answerer, write_questions
from visionrnn.cli import find, main
from visionrnn.tasks import TASKS

ROOT = SCRIPTS.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
DOCUMENTS = [*PAGES, ROOT / "examples" / "README.md", *sorted(ROOT.glob("*/pretrained/*/README.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def blocks(file: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(file.read_text(encoding="utf-8")) if kind == language]


def anchors(file: Path) -> set[str]:
    """What a link may name behind `#`: the headings as GitHub and the site spell them."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", file.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(file: Path) -> list[str]:
    """The links of a page that lead to no file of the project, or to no heading of it."""
    text = BLOCK.sub("", file.read_text(encoding="utf-8"))
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        aim = (file.parent / path).resolve() if path else file
        if not aim.exists() or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            found.append(target)
    return found


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(file):
    assert broken(file) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# Two words\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md) [b](other.md#two-words) [c](gone.md) ![d](gone.png) [e](other.md#gone)\n")
    assert broken(page) == ["gone.md", "gone.png", "other.md#gone"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_version_and_date_are_the_same_everywhere():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.search(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert released[1] == citation["version"] == config["metadata"]["version"]
    assert released[2] == str(citation["date-released"])


def test_the_api_page_names_what_tasks_export():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = {tuple(name.split(".")) for name in re.findall(r"`(\w+\.\w+)`", page)}
    for row in re.findall(r"^\|.*`\w+\.\w+`.*$", page, re.M):
        package = re.search(r"`(\w+)\.", row)[1]
        named |= {(package, name) for name in re.findall(r"`(\w+)`", row)}
    for task in TASKS:
        exported = importlib.import_module(task.package).__all__
        assert {name for package, name in named if package == task.package} == set(exported), task.package


def lines() -> list[tuple[str, str]]:
    """Page and text of each command of README and docs: what a reader pastes into a shell."""
    found = []
    for file in PAGES:
        for code in blocks(file, ""):
            for line in code.replace("\\\n", " ").splitlines():
                found += [(name_of(file), part.strip()) for part in line.split(" && ")]
    return found


CANNOT = {
    r"^(python -m venv|\. \.venv|pip install|pytest$)": "installs packages; .ci/run does as README says",
    r"^visionrnn demo": "serves until it is stopped; tests/visionrnn/test_demo.py drives it",
    r"^torchrun .*--n|--devices 4": "several GPUs or machines; tests/scripts/ trains with two processes",
    r"^visionrnn train .*--encoder resnet101": "downloads the weights of an encoder",
    r"^visionrnn classify 0": "a camera",
    r"^python scripts/train_line_finder.py": "draws pages for long; tests/scripts/test_line_finder.py trains",
    r"--engine ray": "needs the extra ray, and a bucket; tests/common/test_scale.py runs both engines",
    r"--init-from flickr8k --learning-rate": "README's, with a learning rate and epochs of its own",
}
"""Commands that no test can run offline, and why."""


def is_run(line: str) -> bool:
    return not any(re.search(pattern, line) for pattern in CANNOT)


def test_what_is_not_run_is_still_there():
    for pattern in CANNOT:
        assert any(re.search(pattern, line) for _, line in lines()), pattern


def test_what_is_not_run_has_these_flags():
    for _, line in lines():
        line = re.sub(r"torchrun .*scripts/(train|evaluate)_(\w+)\.py", r"visionrnn \1 \2", line)
        if not is_run(line) and line.startswith("visionrnn") and not line.endswith("..."):
            command, _, rest = find(shlex.split(line)[1:])
            assert tyro.cli(command.load()[0], args=rest)


EXAMPLES = ROOT / "examples"


def write_csv(file: Path) -> None:
    write_series(file, change=lambda table: table.rename(columns={"date": "DATE", "value": "VALUE"}))


def write_pdf(file: Path) -> None:
    with Image.open(EXAMPLES / "receipt.jpg") as page:
        page.save(file, "PDF")


def copy(name: str) -> Callable[[Path], object]:
    return lambda file: shutil.copy(EXAMPLES / name, file)


def write_clip(file: Path) -> None:
    write_video(file, moving_square("left", 24))


FILES: dict[str, Callable[[Path], object]] = {
    "examples": lambda file: shutil.copytree(EXAMPLES, file),
    "photo.jpg": copy("cat.jpg"),
    "room.jpg": copy("coffee.jpg"),
    "street.jpg": copy("coffee.jpg"),
    "page.jpg": copy("receipt.jpg"),
    "receipt.jpg": copy("receipt.jpg"),
    "word1.png": lambda file: line_picture("tea").save(file),
    "scan.pdf": write_pdf,
    "more/*.jpg": lambda file: copy("cat.jpg")(file.with_name("a.jpg")),
    "more/*.avi": lambda file: write_clip(file.with_name("a.avi")),
    "clip.mp4": write_clip,
    "recording.mp4": write_clip,
    "call.wav": lambda file: write_wav(file, spoken("ab")),
    "talk.mp4": lambda file: write_wav(file, spoken("dab cab")),
    "letter.txt": lambda file: file.write_text("A red dog sees a tree.\nA blue bird hears a tree.\n"),
    "line.txt": lambda file: file.write_text("A red dog sees a tree.\n"),
    "captions.parquet": lambda file: pd.DataFrame({"caption": ["a cat"]}).to_parquet(file),
    "FILE.txt": write_text,
    "long.txt": lambda file: write_text(file, 3000),
    "FILE.csv": write_csv,
}
"""What the pages name, and how it is made."""


def several_people(root: Path) -> None:
    """Clips of which each is of another person, for folds."""
    rows = (write_clips(root, 2, 1, frames=8) / "train.csv").read_text().splitlines()
    rows[1:] = [f"{row.rpartition(',')[0]},person{10 + i}" for i, row in enumerate(rows[1:])]
    (root / "train.csv").write_text("\n".join(rows))


def all_classes_known(root: Path) -> None:
    for file in write_scenes(root, 4, 2).glob("*/labels/*.png"):
        label = np.asarray(Image.open(file))
        Image.fromarray(np.where(label == IGNORED, 0, label).astype(np.uint8)).save(file)


def with_test_part(root: Path) -> None:
    annotations = write_shapes(root) / "annotations"
    shutil.copy(annotations / "captions_val.json", annotations / "captions_test.json")


def folder_of(file: str) -> Callable[[Path], object]:
    """A folder with one file."""

    def make(root: Path) -> None:
        root.mkdir()
        FILES[file](root / file)

    return make


DATA: dict[str, Callable[[Path], object]] = {
    "captioning": with_test_part,
    "ocr": write_lines,
    "video": several_people,
    "segmentation": all_classes_known,
    "vqa": write_questions,
    "translation": write_pairs,
    "speech": write_speech,
    "language": folder_of("long.txt"),
    "caption": folder_of("photo.jpg"),
    "read": folder_of("page.jpg"),
    "classify": folder_of("clip.mp4"),
    "segment": folder_of("street.jpg"),
}
"""What FOLDER holds, for a task that is trained or scored and for a verb."""
MODELS = {
    "captioning": tiny_model,
    "ocr": tiny_recognizer,
    "video": tiny_classifier,
    "segmentation": tiny_segmenter,
    "vqa": tiny_answerer,
    "language": tiny_language_model,
    "translation": tiny_translator,
    "speech": lambda: tiny_speech(unidirectional=True),
}
"""What stands for the models of the reader's own."""
SHORT = {"epochs": 1, "limit": 8, "workers": 0, "cache": "cache", "synthetic": 4}
"""Flags that make a training short; all others are those of the page."""
TINY = f"--encoder {TINY_ENCODER} --encoder-weights weights.safetensors --image-size 64"
"""Flags of captioning and video on all pages but README, whose trainings have the encoder that users get."""
WRITTEN = {
    "--out",
    "--report",
    "--plot",
    "--attention",
    "--gallery",
    "--alignment",
    "--overlay",
    "--timeline",
    "--neurons",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, which takes files, data and models by the names that a text gives them."""
    monkeypatch.chdir(tmp_path)

    def fill(task, text, verb=""):
        for name, make in FILES.items():
            if name in text and not Path(name).exists():
                Path(name).parent.mkdir(exist_ok=True)
                make(Path(name))
        for name in re.findall(r"\b(?:[A-Z]+_)?FOLDER\b|\bCOCO\b|(?<=--data )coco\b", text):
            if not Path(name).exists():
                DATA["ocr" if name == "WORDS_FOLDER" else verb if verb in DATA else task](Path(name))
        for name in re.findall(r"(?<!--out )\b(?:runs/\w+|RUN|DIR)\b", text):
            if task == "forecasting":
                write_csv(Path("series.csv"))
                run(
                    f"visionrnn train forecasting --data series.csv --date-column DATE --value-column VALUE "
                    f"--window 24 --horizon 12 --out {name} --epochs 1",
                    monkeypatch,
                )
            elif not Path(name).exists():
                blind = ("question_only",) if name == "runs/blind" else ()
                MODELS[task](*blind).save_pretrained(Path(name))

    return fill


def run(line, monkeypatch):
    """Run the command in this process as a shell would on a terminal; it must succeed."""
    before, _, line = line.rpartition(" | ")
    typed = shlex.split(before)[-1] if before else "is it red?"
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(typed.encode() + b"\n")))
    monkeypatch.setattr(sys, "argv", shlex.split(line.partition(" > ")[0]))
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0


class Terminal(io.TextIOWrapper):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def cases() -> list[ParameterSet]:
    """Each command once; trainings are slow."""
    found = dict.fromkeys(line for _, line in lines() if is_run(line))
    return [pytest.param(line, marks=[pytest.mark.slow] * (" train " in line), id=line) for line in found]


@pytest.mark.usefixtures("without_java")
@pytest.mark.parametrize("line", cases())
def test_commands_do_what_they_say(line, folder, monkeypatch, capsys):
    command, own, rest = find(shlex.split(line.rpartition(" | ")[2])[1:])
    task = own[1] if len(own) == 2 else {**VERBS, "export": "captioning", "average": "captioning"}[own[0]]
    training = own[0] == "train"
    resumed = line.removesuffix(" --resume")
    folder(task, line, "" if len(own) == 2 else own[0])
    known = {field.name for field in fields(command.load()[0])} if training else set()
    if task == "language":
        known.discard("limit")  # it counts characters, of which 8 are no text
    short = "".join(f" --{name} {value}" for name, value in SHORT.items() if name in known)
    if training and task in ("captioning", "video") and ("README.md", line) not in lines():
        write_weights(Path("weights.safetensors"))
        short += f" {TINY}"
    capsys.readouterr()
    if resumed != line:
        run(resumed + short, monkeypatch)
        short += " --epochs 2"
    run(line + short, monkeypatch)
    told = capsys.readouterr()
    assert told.out or "--out" in rest
    assert "error:" not in told.err
    for flag, value in pairwise(rest):
        assert flag not in WRITTEN or Path(value).exists(), flag


VERBS = {task.verb: task.package for task in TASKS}


@pytest.mark.parametrize(
    "file", [p for p in PAGES if p.name != "add_a_task.md" and blocks(p, "python")], ids=name_of
)
def test_python_runs(file, folder, monkeypatch, capsys):
    """The blocks of a page run one after the other, as a reader would paste them."""
    code = blocks(file, "python")
    if "parquet" in "".join(code):
        pytest.importorskip("pyarrow", reason="it comes with the extra ray")
    folder(file.stem, "\n".join(["examples word1.png", *code]))
    names = {"pil_image": Image.open("word1.png"), "maps": torch.rand(1, 256, 8, 8)}
    monkeypatch.setattr(sys, "argv", ["python"])
    for block in code:
        exec(compile(block, name_of(file), "exec"), names)
