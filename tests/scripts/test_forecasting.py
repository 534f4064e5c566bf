import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.forecasting.conftest import write_series

COLUMNS = ("--date-column", "date", "--value-column", "value")
FLAGS = (
    *COLUMNS, "--window", 12, "--horizon", 3, "--base", "seasonal_naive", "--epochs", 3, "--hidden-size", 8,
    "--test", 24, "--val", 24, "--device", "cpu",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return write_series(tmp_path / "series.csv")


def weights(run):
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def test_train_evaluate_forecast(script, file, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = script(
        "train_forecasting.py", "--data", file, *FLAGS, "--out", run, "--epochs", 15, "--learning-rate", 0.01
    )
    assert done.code == 0, done.err
    assert "24 rows of test not looked at" in done.out
    assert {"best", "last.ckpt", "metrics.csv", "curves.png"} <= {path.name for path in run.iterdir()}
    done = script("evaluate_forecasting.py", "--data", file, *COLUMNS, "--model", run, "--report", report)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert set(scores["baselines"]) == {"naive", "seasonal_naive", "ar", "holt_winters"}
    assert scores["origins"] == 22
    assert (
        scores["rmse"] < scores["baselines"]["seasonal_naive"]["rmse"]
    )  # it learnt the trend that repeats miss
    assert {"mae", "mape", "mase", "command"} <= set(scores)
    arguments = ("--data", file, "--model", run, "--horizon", 8)
    done = script(
        "forecast.py", *arguments, "--plot", tmp_path / "f.png", "--decomposition", tmp_path / "d.png"
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "date,value"
    assert done.out.splitlines()[1].startswith("2014-05-01,")
    assert len(done.out.splitlines()) == 9
    script("forecast.py", *arguments, "--out", tmp_path / "f.csv")
    assert (tmp_path / "f.csv").read_text() == done.out
    for name in ("f.png", "d.png"):
        with Image.open(tmp_path / name) as drawn:
            assert len(set(drawn.convert("L").tobytes())) > 20


def test_quantiles_make_an_interval_that_covers(script, file, tmp_path):
    run = tmp_path / "run"
    flags = (*FLAGS, "--quantiles", 0.9, 0.1, 0.5, "--epochs", 15, "--learning-rate", 0.01)
    assert script("train_forecasting.py", "--data", file, *flags, "--out", run).code == 0
    done = script("forecast.py", "--data", file, "--model", run, "--plot", tmp_path / "f.png")
    table = [line.split(",") for line in done.out.splitlines()]
    assert table[0] == ["date", "value", "quantile_0.1", "quantile_0.5", "quantile_0.9"]
    numbers = np.array([[float(cell) for cell in row[1:]] for row in table[1:]])
    assert (numbers[:, 1] <= numbers[:, 2]).all()
    assert (numbers[:, 2] <= numbers[:, 3]).all()
    assert np.array_equal(numbers[:, 0], numbers[:, 2])


def test_the_test_part_cannot_change_the_model(script, file, tmp_path):
    def wild(table):
        table.loc[len(table) - 24 :, "value"] = 1e6
        return table

    other = write_series(tmp_path / "other.csv", change=wild)
    for name, data in (("a", file), ("b", other)):
        assert script("train_forecasting.py", "--data", data, *FLAGS, "--out", tmp_path / name).code == 0
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_covariates_are_used_and_asked_for(script, file, tmp_path):
    run = tmp_path / "run"
    assert (
        script("train_forecasting.py", "--data", file, *FLAGS, "--covariates", "other", "--out", run).code
        == 0
    )
    assert script("forecast.py", "--data", file, "--model", run).code == 0  # the model knows its columns
    result = script("evaluate_forecasting.py", "--data", file, *COLUMNS, "--model", run)
    assert (result.code, "give the same --covariates" in result.err) == (1, True)
    result = script("forecast.py", "--data", file, "--model", run, "--horizon", 4)
    assert (result.code, "at most 3 for a model with covariates" in result.err) == (2, True)


def test_more_epochs_follow_the_longer_schedule(script, file, tmp_path, monkeypatch):
    from common.training import RunFolder

    run, train = tmp_path / "run", ("train_forecasting.py", "--data", file, *FLAGS)
    assert script(*train, "--out", run).code == 0
    before = (run / "metrics.csv").read_text().splitlines()
    rates: list[float] = []
    real = RunFolder.on_train_batch_start

    def watch(self, trainer, module, *rest):
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        real(self, trainer, module, *rest)

    monkeypatch.setattr(RunFolder, "on_train_batch_start", watch)
    done = script(*train[:-2], "--out", run, "--resume", "--epochs", 5)
    assert done.code == 0, done.err
    said = "from epoch 4 on the learning rate follows the one-cycle schedule of a run of 5"
    assert done.out.count(said) == 1
    assert (run / "metrics.csv").read_text().splitlines()[: len(before)] == before
    assert len((run / "metrics.csv").read_text().splitlines()) == len(before) + 2
    assert json.loads((run / "train_config.json").read_text())["epochs"] == 5
    resumed, rates[:] = list(rates), []
    assert script(*train, "--epochs", 5, "--out", tmp_path / "whole").code == 0
    assert resumed == pytest.approx(rates[-len(resumed) :])
    assert len(resumed) == len(rates) * 2 // 5


def test_a_longer_run_that_was_stopped_ends_at_the_same_weights(script, file, tmp_path, monkeypatch):
    from common.training import RunFolder

    train = ("train_forecasting.py", "--data", file, *FLAGS)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for run in (whole, cut):
        assert script(*train, "--out", run).code == 0
    assert script(*train, "--out", whole, "--resume", "--epochs", 6).code == 0
    real = RunFolder.on_train_epoch_start

    def stop(self, trainer, module):
        if trainer.current_epoch == 4:
            raise OSError("stopped")
        real(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_train_epoch_start", stop)
        assert script(*train, "--out", cut, "--resume", "--epochs", 6).code == 1
    done = script(
        "train_forecasting.py", "--data", file, *FLAGS[:-2], "--out", cut, "--resume", "--epochs", 6
    )
    assert (done.code, "resumed with more epochs" in done.out) == (0, False), done.err
    assert "epoch 5/6" in done.out.splitlines()[-3]
    assert all(torch.equal(tensor, weights(cut)[name]) for name, tensor in weights(whole).items())


def test_only_more_epochs_are_taken_on_resume(script, file, tmp_path):
    run = tmp_path / "run"
    assert script("train_forecasting.py", "--data", file, *FLAGS, "--out", run).code == 0
    sizes = ("--window", 12, "--horizon", 3)
    resume = ("train_forecasting.py", "--data", file, *COLUMNS, *sizes, "--out", run, "--resume")
    default = ("--hidden-size", 32)
    for flags, message in (
        (("--epochs", 2), "--epochs 2: the run has 3; give more, or leave the flag out"),
        (default, "--hidden-size 32: the run has 8; leave the flag out"),
        (("--hidden-size=32",), "--hidden-size 32: the run has 8"),
    ):
        result = script(*resume, *flags)
        assert (result.code, message in result.err) == (2, True), result
    done = script(*resume)
    assert (done.code, "epoch 4" in done.out) == (0, False)
    assert "epoch 40/40" in script(*resume, "--epochs", 40).out  # the default, but given


def hours(file, rows=400, cycle=24):
    """Hours with UTC offsets over a change of the clock."""
    dates = pd.date_range("2023-03-20", periods=rows, freq="h", tz="Europe/Berlin")
    value = 100 + 20 * np.sin(2 * np.pi * np.arange(rows) / cycle) + np.arange(rows) % 5
    pd.DataFrame({"When": dates.astype(str), "value": value.round(2)}).to_csv(file, index=False)
    return file


HOURLY = ("--date-column", "When", "--value-column", "value")


def test_the_season_follows_the_dates_and_is_printed(script, tmp_path):
    run, report, file = tmp_path / "run", tmp_path / "report.json", hours(tmp_path / "hours.csv")
    train = ("train_forecasting.py", "--data", file, *HOURLY, *FLAGS[4:], "--window", 24, "--epochs", 1)
    done = script(*train, "--out", run)
    assert done.code == 0, done.err
    assert "hours, season of 24 rows" in done.out
    assert "Warning" not in done.out + done.err
    evaluate = ("evaluate_forecasting.py", "--data", file, *HOURLY, "--model", run, "--report", report)
    done = script(*evaluate)
    assert (done.code, "hours, season of 24 rows" in done.out) == (0, True), done.err
    by_day = json.loads(report.read_text())
    assert (by_day["season"], by_day["frequency"]) == (24, "hours")
    assert script(*evaluate, "--season", 12).code == 0
    by_half = json.loads(report.read_text())
    assert by_half["season"] == 12
    better = [scores["baselines"]["seasonal_naive"]["rmse"] for scores in (by_day, by_half)]
    assert better[0] < better[1] / 3
    assert by_day["mase"] > by_half["mase"]  # the season of 12 made the model look good
    done = script(*train, "--out", tmp_path / "other", "--season", 6)
    assert "hours, season of 6 rows" in done.out
    assert script(*evaluate, "--season", -1).code == 2


def test_a_forecast_can_be_read_back(script, tmp_path):
    run, file, following = tmp_path / "run", hours(tmp_path / "hours.csv"), tmp_path / "next.csv"
    train = ("train_forecasting.py", "--data", file, *HOURLY, *FLAGS[4:], "--base", "ar", "--epochs", 1)
    assert script(*train, "--out", run).code == 0
    forecast = ("forecast.py", "--model", run)
    assert script(*forecast, "--data", file, "--horizon", 30, "--out", following).code == 0
    rows = following.read_text().splitlines()
    assert (rows[0], rows[1].split(",")[0]) == ("When,value", "2023-04-05 15:00:00+00:00")
    done = script(*forecast, "--data", following)
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].startswith("2023-04-06 21:00:00+00:00,")
    done = script("evaluate_forecasting.py", "--data", following, *HOURLY, "--model", run)
    assert (done.code, "hours, season of 24 rows" in done.out) == (0, True), done.err


def test_a_model_refuses_another_frequency(script, file, tmp_path):
    run = tmp_path / "run"
    assert script("train_forecasting.py", "--data", file, *FLAGS, "--out", run, "--epochs", 1).code == 0
    other = hours(tmp_path / "hours.csv")
    for name in ("forecast.py", "evaluate_forecasting.py"):
        done = script(name, "--data", other, "--model", run, *HOURLY)
        message = "the model was trained on months, the series has hours"
        assert (done.code, message in done.err) == (1, True), done


def test_how_a_csv_is_written_can_be_said(script, tmp_path):
    file = tmp_path / "series.csv"
    dates = pd.date_range("2020-01-01", periods=60, freq="D").strftime("%d/%m/%Y")
    rows = [f"{date};{100 + i % 7}.{100 + i}" for i, date in enumerate(dates)]
    file.write_text("\n".join(["date;Gr\u00f6\u00dfe", *rows]), encoding="cp1252")
    columns = ("--date-column", "date", "--value-column", "Gr\u00f6\u00dfe", "--data", file)
    how = ("--separator", ";", "--encoding", "cp1252", "--date-format", "%d/%m/%Y")
    sizes = (*FLAGS[4:], "--window", 7, "--test", 8, "--val", 8, "--epochs", 1)
    done = script("train_forecasting.py", *columns, *sizes, *how, "--out", tmp_path / "refused")
    assert (done.code, "give --decimal . or --thousands ." in done.err) == (1, True)
    for name, flags in (("points", ("--decimal", ".")), ("groups", ("--thousands", "."))):
        done = script("train_forecasting.py", *columns, *sizes, *how, *flags, "--out", tmp_path / name)
        assert done.code == 0, done.err
    done = script("forecast.py", "--model", tmp_path / "groups", *how, "--thousands", ".", "--data", file)
    assert (done.code, done.out.splitlines()[1].split(",")[0]) == (0, "2020-03-01")
    assert float(done.out.splitlines()[1].split(",")[1]) > 90_000


def test_a_statement_does_not_end_up_in_the_forecast(script, file, tmp_path):
    run = tmp_path / "run"
    day_first = write_series(
        tmp_path / "days.csv",
        change=lambda table: table.assign(date=pd.to_datetime(table["date"]).dt.strftime("%d/%m/%Y")),
    )
    assert script("train_forecasting.py", "--data", file, *FLAGS, "--out", run, "--epochs", 1).code == 0
    done = script("forecast.py", "--data", day_first, "--model", run)
    assert (done.code, done.out.splitlines()[0]) == (0, "date,value")
    assert "dates are read as day/month/year" in done.err


def test_bad_usage(script, file, tmp_path):
    run = tmp_path / "run"
    train = ("train_forecasting.py", "--data", file, *FLAGS, "--out", run)
    short = write_series(tmp_path / "short.csv", rows=20)
    cases = [
        (2, (*train, "--window", 200), "--window 200 with --horizon 3 does not fit"),
        (2, (*train, "--window", 0), "--window 0"),
        (2, (*train, "--quantiles", 1.5), "--quantiles[0] 1.5: must be at most 0.9999"),
        (2, (*train, "--season", 13), "--season 13"),
        (2, (*train, "--value-column", "Value"), "no column 'Value'"),
        (2, ("train_forecasting.py", "--data", short, *FLAGS, "--out", run), "leave -28 of 20 rows"),
        (2, (*train, "--covariates", "none"), "no column 'none'"),
    ]
    for code, arguments, message in cases:
        result = script(*arguments)
        assert (result.code, message in result.err) == (code, True), (arguments, result)
    assert not run.exists()  # a mistake leaves nothing behind


def test_bad_evaluations(script, file, tmp_path):
    run = tmp_path / "run"
    assert script("train_forecasting.py", "--data", file, *FLAGS, "--out", run).code == 0
    head = write_series(tmp_path / "head.csv", change=lambda table: table.head(137))
    tail = write_series(tmp_path / "tail.csv", change=lambda table: table.tail(8))
    cases = [
        (1, ("--data", head, "--model", run), "fits into 1 rows of test"),
        (2, ("--data", file, "--model", run, "--split", "train"), "--split train"),
        (2, ("--data", file, "--model", tmp_path / "gone"), "no model"),
        (2, ("--data", file, "--model", run, "--report", tmp_path / "gone" / "r.json"), "does not exist"),
    ]
    for code, arguments, message in cases:
        result = script("evaluate_forecasting.py", *COLUMNS, *arguments)
        assert (result.code, message in result.err) == (code, True), (arguments, result)
    result = script("forecast.py", "--data", tail, "--model", run)
    assert (result.code, "8 rows before the forecast, but the model looks at 12" in result.err) == (1, True)
    renamed = write_series(
        tmp_path / "renamed.csv", change=lambda table: table.rename(columns={"value": "count"})
    )
    result = script("forecast.py", "--data", renamed, "--model", run)
    assert (result.code, "no column 'value'; it has 'date', 'count', 'other'" in result.err) == (2, True)
    result = script("forecast.py", "--data", renamed, "--model", run, "--value-column", "count")
    assert (result.code, result.out.splitlines()[0]) == (0, "date,count")


@pytest.mark.parametrize("name", ["train_forecasting.py", "evaluate_forecasting.py", "forecast.py"])
def test_without_the_extra_one_line_names_the_cure(script, monkeypatch, name):
    for module in [m for m in sys.modules if m.startswith("forecasting")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pandas", None)
    done = script(name, "--help")
    assert done.code == 2
    assert done.err == "error: pandas is not installed; run: pip install '.[forecast]'\n"
