"""What `mkdocs` calls: the documents outside docs/ become pages beside those inside, links included."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
OUTSIDE = [
    *ROOT.glob("*.md"), *ROOT.glob("*/pretrained/*/README.md"),
    *(file for file in (ROOT / "examples").iterdir() if file.is_file()), ROOT / "LICENSE",
]  # fmt: skip


def on_files(files: Any, config: Any) -> Any:
    """Add them under their own paths."""
    for file in OUTSIDE:
        name = file.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they stand in the project -> links of the site, where docs/ is the root."""
    inside = (Path(config["docs_dir"]) / page.file.src_uri).exists()
    place = Path("docs", page.file.src_uri) if inside else Path(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = match[1]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        aim = (ROOT / place.parent / target).resolve().relative_to(ROOT).as_posix().removeprefix("docs/")
        return f"]({'../' * page.file.src_uri.count('/')}{aim})"

    pieces = re.split(r"(^```.*?^```)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(p if p.startswith("```") else re.sub(r"\]\(([^)\s]+)\)", moved, p) for p in pieces)
