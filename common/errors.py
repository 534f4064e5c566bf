"""Errors that say what was got, what was expected and what to do; scripts print them as one line."""


class VisionError(Exception):
    """Base of the errors that are the user's to mend; `exit_code` is what a script ends with."""

    exit_code = 1


class VisionWarning(UserWarning):
    """What was left out of a result that is given all the same; scripts print it as one line."""


class UsageError(VisionError, ValueError):
    """A request that cannot be carried out as given."""

    exit_code = 2


class DataError(VisionError, ValueError):
    """A data set that cannot be read."""


class ImageError(VisionError, ValueError):
    """An image that cannot be read. The message names the file."""


class EncoderWeightsError(VisionError, RuntimeError):
    """Pretrained weights that cannot be had or do not fit; the message names the cures."""


class ModelError(VisionError, RuntimeError):
    """A model that cannot be loaded."""


class ModelNotFoundError(ModelError):
    """A model name that stands for nothing."""

    exit_code = 2
