import shutil

import pytest


@pytest.fixture(autouse=True)
def _without_java(monkeypatch):
    """METEOR starts a Java program, which takes seconds; tests/captioning/test_metrics.py asks for it."""
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name, *rest: None if name == "java" else which(name, *rest))
