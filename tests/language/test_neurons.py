import base64
import json
import re

import numpy as np
import pytest

from language.neurons import activations, fit_probes, properties, write_page
from language.writer import Writer
from tests.language.conftest import small_text, tiny_language_model


def test_properties_of_each_character():
    text = 'a "B c" d\n  e\n\nf'
    known = properties(text)
    marked = "".join(c if q else "." for c, q in zip(text, known["inside quotes"], strict=True))
    assert marked == '.."B c' + "." * 10
    assert [text[i] for i in np.flatnonzero(known["capitals"])] == ["B"]
    assert known["line position"].tolist() == [*range(10), *range(4), 0, 0]
    assert known["indentation"].tolist() == [0] * 10 + [1, 2, 2, 2] + [0, 0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_activations_of_streams_are_those_of_one(cell, monkeypatch):
    from language import neurons

    writer = Writer(tiny_language_model(cell=cell), "cpu", "fp32")
    text = small_text()[:2000]
    streams = activations(writer, text)
    monkeypatch.setattr(neurons, "_STREAMS", 1)
    one = activations(writer, text)
    assert one.shape == streams.shape == (2000, 24)
    assert np.abs(one.astype(int) - streams).max() <= 1
    assert np.ptp(one, axis=0).min() > 0


def test_a_probe_finds_the_cell_that_knows():
    random = np.random.default_rng(0)

    def part(count):
        values = random.integers(-127, 128, (count, 5)).astype(np.int8)
        return values, {
            "yes": values[:, 3] < -20,
            "number": 2.0 * values[:, 1] + 5,
            "never": np.zeros(count, bool),
        }

    train, val = part(2000), part(1000)
    found = {kind: fit_probes((train[0], train[1][kind]), (val[0], val[1][kind])) for kind in train[1]}
    assert found["never"] == []
    assert (found["yes"][0].cell, found["number"][0].cell) == (3, 1)
    assert found["yes"][0].score > 0.98
    assert found["number"][0].score > 0.99
    assert all(abs(probe.score - 0.5) < 0.1 for probe in found["yes"][1:])
    assert all(abs(probe.score) < 0.1 for probe in found["number"][1:])


def test_the_page_holds_everything_itself(tmp_path):
    text = small_text() + "</script><b>\u00e9"
    writer = Writer(tiny_language_model(), "cpu", "fp32")
    probes = write_page(writer, text, text[-3000:], tmp_path / "page.html", shown=3000, name="tiny")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert not re.search(r"https?://|src=|href=", page)
    held = json.loads(re.search(r"const page = (.*);\n", page)[1])
    assert held["text"] == text[-3000:]
    values = np.frombuffer(base64.b64decode(held["activations"]), np.int8).reshape(24, 3000)
    assert np.array_equal(values, activations(writer, text[-3000:]).T)
    assert set(held["probes"]) == {"inside quotes", "line position", "capitals", "indentation"}
    best = held["probes"]["capitals"]["best"]
    assert best[0][0] == probes["capitals"][0].cell
    assert [score for _, score in best] == sorted((score for _, score in best), reverse=True)
