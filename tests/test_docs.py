"""README, docs and cards: the links lead somewhere, the commands exist, the Python runs."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import tyro
from PIL import Image

from tests.conftest import SCRIPTS
from tests.video.conftest import moving_square, write_video
from visionrnn.cli import find

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


def commands() -> list[list[str]]:
    """The words behind `visionrnn` of every command of the pages; a script is the command that it calls."""
    found = []
    for file in PAGES:
        for code in blocks(file, ""):
            for line in code.replace("\\\n", " ").splitlines():
                line = re.sub(r"torchrun .*scripts/(train|evaluate)_(\w+)\.py", r"visionrnn \1 \2", line)
                call = re.search(r"(?:^|&& )visionrnn (.*)", line)
                if call and "..." not in line:
                    found.append(shlex.split(re.split(r" [>|] | && ", call[1])[0]))
    return found


@pytest.mark.parametrize("words", commands(), ids=shlex.join)
def test_commands_have_these_flags(words):
    command, _, rest = find(words)
    config, _ = command.load()
    assert tyro.cli(config, args=rest)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the examples name."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name, source in (("photo", "cat"), ("street", "coffee"), ("receipt", "receipt")):
        shutil.copy(ROOT / "examples" / f"{source}.jpg", tmp_path / f"{name}.jpg")
    Image.open(tmp_path / "receipt.jpg").crop((200, 60, 560, 120)).save(tmp_path / "word1.png")
    write_video(tmp_path / "clip.mp4", moving_square("left", 24))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "file", [p for p in PAGES if p.name != "add_a_task.md" and blocks(p, "python")], ids=name_of
)
def test_python_runs(file, folder, monkeypatch, capsys):
    """The blocks of a page run one after the other, as a reader would paste them.

    One that names a run folder needs a model of the reader's own; it is only compiled.
    """
    import torch

    names = {"pil_image": Image.open(folder / "word1.png"), "maps": torch.rand(1, 256, 8, 8)}
    monkeypatch.setattr(sys, "argv", ["python"])
    for code in blocks(file, "python"):
        compiled = compile(code, name_of(file), "exec")
        if "runs/" not in code:
            exec(compiled, names)
