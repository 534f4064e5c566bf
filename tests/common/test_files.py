import os

import pytest

from common.errors import ImageError, UsageError
from common.files import check_folder, find_files, write_aside

SUFFIXES = {".jpg", ".png", ".webp"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub folder").mkdir()
    for name in ["b.JPG", "a.png", "sub folder/\u00e9t\u00e9.webp"]:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_files_folders_and_patterns_are_taken_once(folder, capsys):
    expected = [folder / "a.png", folder / "b.JPG", folder / "sub folder/\u00e9t\u00e9.webp"]
    for given, found in (
        ([folder], expected),
        ([folder / "b.JPG", folder], [expected[1], expected[0], expected[2]]),
        ([str(folder / "*.png")], expected[:1]),
        ([str(folder / "**")], expected),
        ([str(folder / "sub*")], expected[2:]),  # a pattern that matches a folder
        ([folder / "gone.png"], [folder / "gone.png"]),  # reading it will say so
    ):
        assert find_files(given, SUFFIXES, "pictures") == (found, False)
    assert capsys.readouterr().err == ""


def test_a_name_may_hold_the_signs_of_patterns(folder):
    (folder / "c[1].png").write_bytes(b"x")
    assert find_files([folder / "c[1].png"], SUFFIXES, "pictures") == ([folder / "c[1].png"], False)


def test_what_is_empty_is_named_and_the_rest_is_found(folder, capsys):
    (folder / "empty").mkdir()
    given = [folder / "empty", folder / "a.png", str(folder / "*.gif")]
    assert find_files(given, SUFFIXES, "pictures") == ([folder / "a.png"], True)
    assert capsys.readouterr().err.splitlines() == [
        f"error: {folder}/empty: no pictures in this folder",
        f"error: {folder}/*.gif: nothing matches this pattern",
    ]
    with pytest.raises(ImageError, match="no pictures found"):
        find_files([folder / "empty"], SUFFIXES, "pictures")
    with pytest.raises(UsageError, match="no pictures given"):
        find_files([], SUFFIXES, "pictures")


def test_what_is_left_out_of_folders_is_counted_and_named(folder, capsys):
    for name in ("notes.txt", "more.TXT", "README"):
        (folder / name).touch()
    (folder / "elsewhere").symlink_to(folder / "sub folder")
    found, failed = find_files([folder, folder / "README"], SUFFIXES, "pictures")
    assert (len(found), failed) == (4, False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: no pictures, so left out of folders: 3 (")
    assert ".txt: 2" in line
    assert "link to a folder: 1" in line
    assert f"e.g. {folder}/elsewhere" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_named(folder, capsys):
    (folder / "sub folder").chmod(0)
    try:
        assert find_files([folder], SUFFIXES, "pictures")[1]
    finally:
        (folder / "sub folder").chmod(0o755)
    assert "sub folder: cannot be listed" in capsys.readouterr().err


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
