import torch

from video.metrics import confusion, top_k


def test_a_class_that_the_model_lacks_counts_as_wrong_and_has_no_row():
    logits = torch.tensor([[3.0, 2, 1], [1, 3, 2], [3, 2, 1], [1, 2, 3]])
    truth = torch.tensor([0, 2, -1, 2])
    assert top_k(logits, truth, 1) == 50
    assert top_k(logits, truth, 2) == 75
    assert confusion(logits.argmax(1), truth, 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
