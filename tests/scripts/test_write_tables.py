import json
import re
import runpy

from tests.conftest import SCRIPTS
from visionrnn.tasks import TASKS


def test_tables_equal_the_reports():
    module = runpy.run_path(str(SCRIPTS / "write_tables.py"))
    count = 0
    for page in module["documents"]():
        text = page.read_text(encoding="utf-8")
        count += text.count("<!-- end -->")
        assert module["tables"](text, page.parent) == text, page
    assert count > 12


def test_reports_hold_no_texts_of_data_sets():
    """What people wrote, and what is drawn from it word for word, stays in the data set."""
    for file in (SCRIPTS.parent / "reports").rglob("*.json"):
        report = json.loads(file.read_text(encoding="utf-8"))
        for name in ("answers", "worst_lines", "pages", "captions", "translations", "worst_clips"):
            kept = {key for sample in report.get(name, []) for key in sample}
            assert not kept & {
                "question",
                "given",
                "answer",
                "label",
                "read",
                "references",
                "reference",
                "source",
                "text",
                "found",
            }, (file, name)


def test_a_table_is_written(script, tmp_path):
    for name, score in (("a", 1.5), ("b", 2.5)):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"name": name, "deep": {"score": score}, "count": 12000})
        )
    (tmp_path / "R.md").write_text(
        "x\n<!-- table *.json: name deep.score count none -->\nold\n<!-- end -->\ny\n"
    )
    assert script("write_tables.py", "--file", tmp_path / "R.md").code == 0
    assert (tmp_path / "R.md").read_text() == (
        "x\n<!-- table *.json: name deep.score count none -->\n"
        "| name | score | count | none |\n| --- | --- | --- | --- |\n"
        "| a | 1.5 | 12,000 |  |\n| b | 2.5 | 12,000 |  |\n<!-- end -->\ny\n"
    )


def test_no_report_is_an_error(script, tmp_path):
    (tmp_path / "R.md").write_text("<!-- table gone/*.json: name -->\n<!-- end -->\n")
    result = script("write_tables.py", "--file", tmp_path / "R.md")
    assert (result.code, "no report matches gone/*.json" in result.err) == (2, True)


def test_seeds_are_one_row_and_a_single_row_is_upright(script, tmp_path):
    for name, seed, score in (("a_seed0", 0, 1.5), ("a_seed1", 1, 2.0), ("b_seed0", 0, [4.0])):
        report = {"kind": name[0], "seed": seed, "mean_iou": score, "num_images": 7}
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    columns = "kind seed mean_iou num_images"
    (tmp_path / "R.md").write_text(
        f"<!-- table *.json: {columns} -->\n<!-- end -->\n<!-- table b*.json: {columns} -->\n<!-- end -->\n"
    )
    assert script("write_tables.py", "--file", tmp_path / "R.md").code == 0
    assert (tmp_path / "R.md").read_text() == (
        f"<!-- table *.json: {columns} -->\n"
        "| kind | seeds | mean IoU % | images |\n| --- | --- | --- | --- |\n"
        "| a | 2 | 1.8 (1.5 to 2.0) | 7 |\n| b | 1 | 4.0 | 7 |\n<!-- end -->\n"
        f"<!-- table b*.json: {columns} -->\n"
        "|  |  |\n| --- | --- |\n| kind | b |\n| seeds | 1 |\n| mean IoU % | 4.0 |\n| images | 7 |\n"
        "<!-- end -->\n"
    )


def test_every_column_of_the_pages_has_a_heading_in_words():
    module = runpy.run_path(str(SCRIPTS / "write_tables.py"))
    for page in module["documents"]():
        for columns in re.findall(r"<!-- table \S+: ([^>]*?) -->", page.read_text(encoding="utf-8")):
            for column in columns.split():
                assert not re.search("[_.]", module["heading"](column)), column


def test_every_task_has_its_pages():
    for task in TASKS:
        for page in (f"docs/{task.package}.md", f"docs/results/{task.package}.md"):
            assert (SCRIPTS.parent / page).exists()
