import pytest

from common.errors import UsageError
from common.writing import check_folder, write_aside


def test_a_file_is_replaced_once_it_is_whole(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text("old")
    with write_aside(file) as aside:
        aside.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def write_half(file):
    with write_aside(file) as aside:
        aside.write_text("half")
        raise OSError("no room")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text("old")
    with pytest.raises(OSError, match="no room"):
        write_half(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_missing_is_named_with_its_flag(tmp_path):
    check_folder("--report", None)
    check_folder("--report", tmp_path / "a.json")
    with pytest.raises(UsageError, match=r"--report .*gone.a\.json: its folder does not exist"):
        check_folder("--report", tmp_path / "gone" / "a.json")
