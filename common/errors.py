"""Errors that say what was given, what was expected and what to do; scripts print them as one line."""


class VisionError(Exception):
    """Base of the errors that a user can correct; `exit_code` is what a script ends with."""

    exit_code = 1


class VisionWarning(UserWarning):
    """Something was left out of a result; scripts print it as one line."""


class UsageError(VisionError, ValueError):
    """A wrong flag or argument."""

    exit_code = 2


class DataError(VisionError, ValueError):
    """A data set that cannot be read."""


class ImageError(VisionError, ValueError):
    """An image that cannot be read. The message names the file."""


class EncoderWeightsError(VisionError, RuntimeError):
    """Pretrained weights that cannot be loaded or do not fit; the message says what to do."""


class ModelError(VisionError, RuntimeError):
    """A model that cannot be loaded."""


class ModelNotFoundError(ModelError):
    """A model name that does not exist."""

    exit_code = 2
