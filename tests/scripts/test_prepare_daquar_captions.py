import json

from captioning.data import read_captions
from tests.conftest import shape_picture

PAIRS = [
    ("what is on the wall ?", "picture, clock", "picture and clock is on the wall"),
    ("how many chairs are there ?", "3", "there are 3 chairs"),
    ("what color is the bed ?", "red", "the bed is red"),
    ("what is the blue object on the floor ?", "garbage_bin", "garbage bin is the blue object on the floor"),
    ("name a thing", "lamp", None),
]


def test_questions_become_statements(script, tmp_path):
    data = tmp_path / "daquar"
    (data / "annotations").mkdir(parents=True)
    (data / "images").mkdir()
    shape_picture("red", "circle").save(data / "images" / "image7.jpg")
    for split in ("train", "val"):
        questions = [{"question_id": i, "image_id": 7, "question": q} for i, (q, _, _) in enumerate(PAIRS)]
        answers = [{"question_id": i, "multiple_choice_answer": a} for i, (_, a, _) in enumerate(PAIRS)]
        (data / f"annotations/questions_{split}.json").write_text(json.dumps({"questions": questions}))
        (data / f"annotations/annotations_{split}.json").write_text(json.dumps({"annotations": answers}))
    result = script("prepare_daquar_captions.py", "--data", data, "--out", tmp_path / "rooms")
    assert (result.code, "4 statements on 1 images from 5 questions" in result.out) == (0, True)
    (image,) = read_captions(tmp_path / "rooms", "val")
    assert image.captions == tuple(statement for _, _, statement in PAIRS if statement)
