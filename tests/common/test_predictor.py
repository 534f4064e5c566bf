import numpy as np
import pytest
import torch

from captioning import Captioner
from common.errors import ImageError, ModelNotFoundError
from common.predictor import Predictor, ranked, results
from ocr import TextReader
from segmentation import Segmenter
from tests.conftest import shape_picture, tiny_model
from tests.ocr.conftest import tiny_recognizer
from tests.segmentation.conftest import tiny_segmenter
from tests.video.conftest import tiny_classifier
from tests.vqa.conftest import tiny_answerer
from video import ActionClassifier
from vqa import Answerer

KINDS = [
    (Captioner, tiny_model), (TextReader, tiny_recognizer), (Segmenter, tiny_segmenter),
    (ActionClassifier, tiny_classifier), (Answerer, tiny_answerer),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_what_users_call_is_loaded_in_one_way(kind, make, tmp_path):
    make().train().save_pretrained(tmp_path)
    predictor = kind.from_pretrained(tmp_path, "cpu", "bf16")
    assert isinstance(predictor, Predictor)
    assert (predictor.device.type, predictor.precision, predictor.dtype) == ("cpu", "bf16", torch.bfloat16)
    assert not predictor.model.training
    assert next(predictor.model.parameters()).dtype == torch.float32
    with pytest.raises(ModelNotFoundError, match="nothing-of-that-name"):
        kind.from_pretrained("nothing-of-that-name")


def test_a_copy_in_the_precision_leaves_the_model_as_it_is():
    predictor = Answerer(tiny_answerer(), "cpu", "bf16")
    assert {p.dtype for p in predictor.network.network.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in predictor.model.parameters()} == {torch.float32}


def test_the_most_probable_labels_come_first():
    found = ranked(np.log(np.array([0.1, 0.6, 0.3], np.float32)), ["a", "b", "c"], 2)
    assert [label for label, _ in found] == ["b", "c"]
    assert [p for _, p in found] == pytest.approx([0.6, 0.3])
    assert len(ranked(np.zeros(2, np.float32), ["a", "b"], 9)) == 2


def test_results_or_the_first_error(tmp_path):
    assert results(iter([1, 2])) == [1, 2]
    with pytest.raises(ImageError, match="second"):
        results([1, ImageError("second"), ImageError("third")])
    captions = Captioner(tiny_model(), "cpu").caption_each(
        [shape_picture("red", "circle"), tmp_path / "gone.png", shape_picture("blue", "square")]
    )
    assert [isinstance(item, ImageError) for item in captions] == [False, True, False]
