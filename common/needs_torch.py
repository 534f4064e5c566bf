"""Imported first by packages that run on torch: says what to do where it is not installed."""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError("torch is not installed; run: pip install '.[train]'", name="torch")
