"""Imported first by packages that run on torch: says what to do where it is not installed."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed; run: pip install '.[train]'", name=error.name
    ) from None
