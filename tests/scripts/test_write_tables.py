import json
import runpy

from tests.conftest import SCRIPTS


def test_readme_tables_equal_the_reports():
    tables = runpy.run_path(str(SCRIPTS / "write_tables.py"))["tables"]
    readme = SCRIPTS.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    assert text.count("<!-- table ") >= 2
    assert tables(text, readme.parent) == text


def test_reports_hold_no_texts_of_data_sets():
    """What people wrote, and what is drawn from it word for word, stays in the data set."""
    for file in (SCRIPTS.parent / "reports").rglob("*.json"):
        report = json.loads(file.read_text(encoding="utf-8"))
        for name in ("answers", "worst_lines", "pages", "captions"):
            kept = {key for sample in report.get(name, []) for key in sample}
            assert not kept & {"question", "given", "answer", "label", "read", "references"}, (file, name)


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
        "| name | deep.score | count | none |\n| --- | --- | --- | --- |\n"
        "| a | 1.5 | 12,000 |  |\n| b | 2.5 | 12,000 |  |\n<!-- end -->\ny\n"
    )


def test_no_report_is_an_error(script, tmp_path):
    (tmp_path / "R.md").write_text("<!-- table gone/*.json: name -->\n<!-- end -->\n")
    result = script("write_tables.py", "--file", tmp_path / "R.md")
    assert (result.code, "no report matches gone/*.json" in result.err) == (2, True)
