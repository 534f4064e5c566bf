import json
from dataclasses import dataclass
from pathlib import Path

from common.errors import ImageError
from common.evaluation import EvaluationFlags, facts, left_out, show, write_report
from common.predictor import Predictor
from tests.vqa.conftest import tiny_answerer


@dataclass(frozen=True, kw_only=True)
class Flags(EvaluationFlags):
    model: str = "mine"


def test_facts_about_model_and_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny_answerer()
    model.info = {"seed": 4, "minutes": 1.5}
    found = facts(Flags(data=Path()), Predictor(model, "cpu", "fp32"))
    assert found.pop("command").startswith("python ")
    assert found == {
        "model": "mine", "seed": 4, "minutes": 1.5, "parameters": sum(p.numel() for p in model.parameters()),
        "data": tmp_path.name, "split": "val", "precision": "fp32",
    }  # fmt: skip


def test_a_report_is_shown_and_written(tmp_path, capsys):
    left_out([ImageError("a.png: damaged")])
    show({"accuracy": 50.0, "name": "caf\u00e9"})
    assert capsys.readouterr().out.splitlines() == [
        "left out a.png: damaged", "accuracy           50.0", "name               caf\u00e9",
    ]  # fmt: skip
    write_report({"name": "caf\u00e9"}, None)
    write_report({"name": "caf\u00e9"}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"name": "caf\u00e9"}
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
