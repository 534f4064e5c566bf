"""A speech recognizer on the engine."""

from common.ctc_predictor import CtcOnGraphs
from speech.config import STRIDE, Architecture


class OnGraphs(CtcOnGraphs):
    """The graph of a recognizer, and what its config says of it."""

    task = "speech"
    sizes = Architecture
    axis = 1
    stride = STRIDE
