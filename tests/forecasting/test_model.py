import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.tsa.ar_model import AutoReg

from forecasting.baselines import baselines
from forecasting.config import ForecastConfig, Scaler
from forecasting.evaluation import rows_until, scores
from forecasting.forecaster import Forecaster
from forecasting.model import ForecastModel, linear_base
from tests.conftest import by_threads, on_both_engines

CELLS = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])


def wave(rows=120):
    t = np.arange(rows)
    noise = np.random.default_rng(0).normal(0, 0.1, rows)
    return 5 + np.sin(2 * np.pi * t / 12) + 0.01 * t + noise


def model(**changes):
    torch.manual_seed(0)
    config = ForecastConfig(**{"window": 12, "horizon": 4, "columns": 2, "hidden_size": 6, **changes})
    values = np.stack([wave(), wave()[::-1]], 1)[:, : config.columns]
    made = ForecastModel(config, Scaler.fit(values, config.transform))
    torch.nn.init.normal_(made.output.weight)
    return made.eval()


@CELLS
@pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
def test_shape_gradient_and_batch_of_one(cell, quantiles):
    network = model(cell=cell, quantiles=quantiles, layers=2, bidirectional=True)
    inputs = torch.randn(3, 12, 2)
    found = network(inputs)
    assert found.shape == (3, 4, max(1, len(quantiles)))
    torch.testing.assert_close(network(inputs[1:2])[0], found[1])
    found.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@CELLS
def test_save_and_load_give_equal_output(cell, tmp_path):
    network = model(cell=cell, quantiles=(0.2, 0.8), transform="log", base="seasonal_naive")
    network.set_base(*linear_base(network.config, wave()))
    network.save_pretrained(tmp_path)
    loaded = ForecastModel.from_pretrained(tmp_path)
    inputs = torch.randn(2, 12, 2)
    assert torch.equal(loaded(inputs), network(inputs))
    assert (loaded.config, loaded.scaler) == (network.config, network.scaler)


@CELLS
def test_one_batch_can_be_learnt(cell):
    network = model(cell=cell).train()
    inputs, targets = torch.randn(6, 12, 2), torch.randn(6, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        loss = (network(inputs)[..., 0] - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_the_ar_base_is_statsmodels_forecast():
    values = wave()
    config = ForecastConfig(window=15, horizon=20, base="ar", lags=13)
    weight, bias = linear_base(config, values)
    fitted = AutoReg(values, 13).fit()
    np.testing.assert_allclose(weight @ values[-15:] + bias, fitted.forecast(20), rtol=1e-6)


def test_the_seasonal_base_repeats_the_last_season():
    values = wave()
    weight, bias = linear_base(
        ForecastConfig(window=14, horizon=30, base="seasonal_naive", season=12), values
    )
    np.testing.assert_allclose(weight @ values[-14:] + bias, values[-12:][np.arange(30) % 12])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"base": "seasonal_naive", "season": 13}, "--season 13"), ({"lags": 13}, "--lags 13")],
)
def test_a_base_that_does_not_fit_says_so(wrong, message):
    with pytest.raises(ValueError, match=message):
        linear_base(ForecastConfig(window=12, horizon=2, **wrong), wave())


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_the_scaler_restores_and_normalises(transform):
    values = np.stack([wave(), wave() - 100], 1)
    scaler = Scaler.fit(values, transform)
    scaled = scaler.scale(values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(0), 1)
    np.testing.assert_allclose(scaler.restore(scaled[:, 0]), values[:, 0])
    with pytest.raises(ValueError, match="--transform log: the series goes down to 0"):
        Scaler.fit(np.array([[0.0], [1.0]]), "log")


def test_the_future_cannot_change_a_past_forecast():
    forecaster = Forecaster(model())
    values = np.stack([wave(), wave()[::-1]], 1)
    changed = values.copy()
    changed[60:] = 1e6
    origins = [20, 40, 60]
    assert np.array_equal(forecaster.backtest(values, origins), forecaster.backtest(changed, origins))
    assert not np.array_equal(forecaster.backtest(values, [61]), forecaster.backtest(changed, [61]))


def test_no_baseline_sees_the_future_and_each_says_what_its_name_says():
    values = wave()
    found = baselines(values[:90], 12)
    assert set(found) == {"naive", "seasonal_naive", "ar", "holt_winters"}
    assert found["naive"](values[:100], 3).tolist() == [values[99]] * 3
    assert found["seasonal_naive"](values[:100], 14).tolist() == [*values[88:100], values[88], values[89]]
    for forecast in (found["ar"], found["holt_winters"]):
        assert (
            np.sqrt(np.mean((forecast(values[:90], 12) - values[90:102]) ** 2)) < 0.4
        )  # it follows the season
        assert len(forecast(values[:100], 5)) == 5


def test_scores_in_the_datas_own_units():
    actual = np.array([[10.0, 20.0], [30.0, 40.0]])
    found = scores(actual + np.array([[1.0, -1.0], [3.0, 3.0]]), actual, scale=4.0)
    assert found == {
        "rmse": round(5**0.5, 3), "rmse_per_origin": 2.0, "mae": 2.0, "mape": 8.125, "mase": 0.5,
    }  # fmt: skip
    assert scores(actual, actual * 0, 1.0)["mape"] is None


@pytest.mark.parametrize(
    ("index", "until", "rows"),
    [
        (pd.date_range("2014-01-31", periods=9, freq="ME"), "2014-05", 5),  # as older models have it
        (pd.date_range("2014-01-01", periods=9, freq="MS"), "2014-05-01 00:00:00", 5),
        (pd.date_range("2020-09-21", periods=9, freq="W-MON"), "2020-10-05/2020-10-11", 3),
        (pd.date_range("2020-01-01", periods=9, freq="h"), "2020-01-01 04:00", 5),
        (pd.date_range("2020-01-01", periods=9, freq="h", tz="UTC"), "2020-01-01 05:00:00+01:00", 5),
        (pd.date_range("2020-01-01", periods=9, freq="h", tz="UTC"), "2020-01-01 04:00:00", 5),
    ],
)
def test_rows_up_to_the_end_of_a_models_part(index, until, rows):
    assert rows_until(index, until) == rows


def test_threads_that_share_a_forecaster_forecast_what_one_does():
    forecaster = Forecaster(model())
    values = np.stack([wave(), wave()[::-1]], 1)
    alone, together = by_threads(lambda origin: forecaster.backtest(values, [origin]), range(20, 60), 3)
    assert all(np.allclose(a, b) for a, b in zip(alone, together, strict=True))


@CELLS
@pytest.mark.parametrize("changes", [{}, {"quantiles": (0.1, 0.5, 0.9), "bidirectional": True, "layers": 2}])
def test_the_engine_forecasts_what_torch_forecasts(tmp_path, cell, changes):
    made = model(cell=cell, **changes)
    torch.nn.init.normal_(made.output.weight)
    engine, on_torch = on_both_engines(Forecaster, made, tmp_path)
    values = np.random.default_rng(0).normal(size=(60, 2))
    found, expected = (each.backtest(values, [12, 30, 60]) for each in (engine, on_torch))
    np.testing.assert_allclose(found, expected, atol=1e-3)
