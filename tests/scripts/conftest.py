import pytest


@pytest.fixture(autouse=True)
def _without_java(without_java):
    """Of all tests here."""
