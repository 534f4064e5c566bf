import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")

import fsspec
import numpy as np
import pyarrow
from pyarrow import csv, parquet

import captioning.command
import ocr.command
import segmentation.command
import video.command
from common import scale
from common.errors import DataError, UsageError, VisionError
from common.files import find_files
from common.scale import Actor, Job, Tries, each_path, schema_of, write_list
from tests.common import scale_task
from tests.conftest import shape_picture
from tests.ocr.conftest import line_picture
from tests.segmentation.conftest import tiny_segmenter
from tests.video.conftest import moving_square, tiny_classifier, write_video

LOCAL = fsspec.filesystem("file")


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests of this module."""
    import ray

    ray.init("local", num_cpus=2, logging_level="error", log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def small(monkeypatch):
    """Shards of eight files."""
    monkeypatch.setattr(scale, "SHARD", 8)


def write_files(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    """What a run compares of a model."""
    return write_files(tmp_path / "model", {"config.json": "{}"})


def flags(folder: Path, *paths: object, **more: object) -> scale_task.Config:
    return scale_task.Config(
        paths=tuple(map(str, paths)), model=str(folder / "model"), out=str(folder / "out.parquet"),
        engine="ray", **more,
    )  # fmt: skip


def names_of(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rows(out: Path) -> list[dict]:
    return parquet.read_table(out).to_pylist(maps_as_pydicts="strict")


# which files


def test_folders_patterns_and_files_are_those_of_the_plain_command_in_its_order(tmp_path, capsys):
    for name in ("b/x.png", "b/a/y.PNG", "b.png", "b-1/z.png", "b/x.svg", "a.jpg", "ü/\udcff.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for given in (
        [tmp_path],
        [tmp_path / "b.png", tmp_path],
        [f"{tmp_path}/*"],
        [f"{tmp_path}/*/*.png", "no"],
    ):
        given = list(map(str, given))
        problems: list[str] = []
        found = list(dict.fromkeys(each_path(given, {".png"}, "pictures", problems)))
        plain, failed = find_files(given, {".png"}, "pictures")
        assert found == list(map(str, plain))
        assert bool(problems) == failed
    assert "left out of folders: 2 (.jpg: 1, .svg: 1)" in capsys.readouterr().err


def test_folders_and_patterns_of_a_url(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in ("/deep/b/x.png", "/deep/b/a/y.PNG", "/deep/b.png", "/deep/b-1/z.png", "/deep/x.svg"):
        memory.pipe_file(name, b"text")
    problems: list[str] = []
    found = list(each_path(["memory://deep"], {".png"}, "pictures", problems))
    names = ("b/a/y.PNG", "b/x.png", "b-1/z.png", "b.png")
    assert found == [f"memory:///deep/{name}" for name in names]
    found = list(each_path(["memory://deep/*.png", "memory://no/*.png"], {".png"}, "pictures", problems))
    assert found == ["memory:///deep/b.png"]
    assert problems == ["memory://no/*.png: nothing matches this pattern"]
    local, failed = scale.fetched(["memory://deep/b.png", "a.png", "memory://deep/gone.png"], tmp_path)
    assert local[0].read_text() == "text"
    assert local[1] == Path("a.png")
    assert list(failed) == [str(local[2])]
    assert "memory://deep/gone.png: cannot be fetched" in failed[str(local[2])]


def test_lists_of_paths(tmp_path):
    paths = ["one.png", "a folder/two, with a comma.png", "s3://bucket/three.png"]
    (tmp_path / "list.txt").write_text("\n".join([*paths, "", ""]))
    table = pyarrow.table({"id": [1, 2, 3], "path": paths})
    csv.write_csv(table, tmp_path / "list.csv")
    parquet.write_table(table, tmp_path / "list.parquet")
    for name in ("list.txt", "list.csv", "list.parquet"):
        for given in (str(tmp_path / name), f"file://{tmp_path / name}"):
            assert list(each_path([given], {".png"}, "pictures", [])) == paths
    parquet.write_table(table.select(["id"]), tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_text("no")
    for name, reason in (
        ("none", "has no column `path`; it has id"),
        ("broken", "no list"),
        ("gone", "no list"),
    ):
        with pytest.raises(DataError, match=reason):
            list(each_path([str(tmp_path / f"{name}.parquet")], {".png"}, "pictures", []))
    with pytest.raises(UsageError, match="Protocol not known"):
        list(each_path(["nosuch://x/*"], {".png"}, "pictures", []))


def test_a_list_on_disk_holds_each_path_once(tmp_path):
    paths = ["a", "b", "\udcff", "a", "c", "b", "d"]
    listed = write_list(LOCAL, str(tmp_path), paths, 2)
    assert listed.count == 5
    assert list(scale._read_list(LOCAL, str(tmp_path / listed.name))) == ["a", "b", "\udcff", "c", "d"]
    same = write_list(LOCAL, str(tmp_path), ["a", "b", "\udcff", "c", "d"], 2)
    assert same.sha256 == listed.sha256
    assert write_list(LOCAL, str(tmp_path), ["a", "b", "\udcff", "d", "c"], 2).sha256 != listed.sha256


# what ends a process


def test_what_ended_a_process_is_split_down_to_the_file(tmp_path):
    file = str(tmp_path / "tries.json")
    deaths, begun = 0, []
    while True:  # a process after the other; file 5 ends each
        tries = Tries(LOCAL, file)
        for start, stop in tries.pieces(0, 12, 4):
            if tries.deaths[start, stop] >= scale.TRIES:
                continue
            tries.begin(start, stop)
            begun.append((start, stop))
            if start <= 5 < stop:
                deaths += 1
                break
        else:
            break
    assert deaths == 4
    assert begun[0] == (0, 12)
    assert begun[1:3] == [(0, 4), (4, 8)]
    assert begun[-3:] == [(6, 7), (7, 8), (8, 12)]
    tries.end()
    assert not Tries(LOCAL, file).deaths


# rows


def test_columns_are_those_of_the_json():
    schema = schema_of(ocr.command.PageRow)
    assert schema.names == ["path", "text", "angle", "lines", "error"]
    line = schema.field("lines").type.value_type
    assert [field.name for field in line] == ["text", "confidence", "box", "polygon", "row", "words"]
    assert line.field("polygon").type == pyarrow.list_(pyarrow.list_(pyarrow.float64()))
    assert schema_of(segmentation.command.Row).field("shares").type == pyarrow.map_(
        pyarrow.string(), pyarrow.float64()
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory, model_folder, recognizer_folder):
    """For each task its command and flags: four good files and a damaged one."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for name in ("caption", "read", "line", "segment", "classify"):
        data = folder / name
        data.mkdir()
        for i, colour in enumerate(("red", "green", "blue", "yellow")):
            if name == "classify":
                write_video(data / f"{i}.mp4", moving_square(("up", "down")[i % 2], 24))
            elif name == "line":
                line_picture(colour, 24).save(data / f"{i}.png")
            else:
                shape_picture(colour, "circle", i).save(data / f"{i}.png")
        (data / f"1b.{'mp4' if name == 'classify' else 'png'}").write_bytes(b"damaged")
        found[name] = data
    models = {"caption": model_folder, "read": recognizer_folder, "line": recognizer_folder}
    for name, make in (("segment", tiny_segmenter), ("classify", tiny_classifier)):
        models[name] = folder / f"{name}-model"
        make().save_pretrained(models[name])
    shared = {name: {"paths": (str(data),), "json": True} for name, data in found.items()}
    return {
        "caption": (
            captioning.command,
            captioning.command.Config(**shared["caption"], model=(str(models["caption"]),), n_best=2),
        ),
        "read": (ocr.command, ocr.command.Config(**shared["read"], model=str(models["read"]))),
        "line": (ocr.command, ocr.command.Config(**shared["line"], model=str(models["line"]), line=True)),
        "segment": (
            segmentation.command,
            segmentation.command.Config(**shared["segment"], model=str(models["segment"])),
        ),
        "classify": (
            video.command,
            video.command.Config(**shared["classify"], model=str(models["classify"]), top=2),
        ),
    }


@pytest.mark.parametrize("name", ["caption", "read", "line", "segment", "classify"])
def test_rows_equal_what_the_plain_command_prints(cases, tmp_path, capsys, name):
    command, config = cases[name]
    assert command.main(config) == 1
    plain = capsys.readouterr()
    suffixes = {".png", ".mp4"}
    (tmp_path / "_aside").mkdir()
    (tmp_path / "_tries").mkdir()
    listed = write_list(LOCAL, str(tmp_path), each_path(config.paths, suffixes, "files", []), 8)
    job = Job(command.__name__, config, str(tmp_path), listed.name, np.array([0]), 5, ".", 4)
    assert [{k: v.tolist() for k, v in b.items()} for b in Actor(job)({"id": np.array([0])})] == [
        {"files": [5], "problem": [""]}
    ]
    found = rows(tmp_path / "part-00000.parquet")
    good = [{k: v for k, v in row.items() if k != "error"} for row in found if row["error"] is None]
    assert good == [json.loads(line) for line in plain.out.splitlines()]
    assert len(good) == 4
    bad = [row for row in found if row["error"] is not None]
    assert [f"error: {row['error']}" for row in bad] == plain.err.splitlines()
    assert [Path(row["path"]).stem for row in found] == ["0", "1", "1b", "2", "3"]


# whole runs


def test_a_run_with_files_of_all_kinds(cluster, small, model, tmp_path, capsys):
    texts = {f"{i:02d}.png": f"text {i}" for i in range(20)}
    texts |= {"03.png": "bad", "05.png": "fatal", "12.png": "once", "13.png": "pages"}
    data = write_files(tmp_path / "data", texts)
    (data / os.fsdecode(b"14\xff.png")).write_text("odd")
    more = write_files(tmp_path / "more", {"0.png": "remote", "1.png": "bad"})
    (tmp_path / "list.txt").write_text(f"file://{more}/0.png\nfile://{more}/1.png\nfile://{more}/2.png\n")
    given = (data, tmp_path / "list.txt", data / "00.png")
    config = flags(tmp_path, *given, actors=2)
    out = tmp_path / "out.parquet"
    assert scale_task.main(config) == 1
    assert "4 pictures could not be read" in capsys.readouterr().err
    assert names_of(out) == ["_run.json", *(f"part-0000{i}.parquet" for i in range(3))]
    found = rows(out)
    names = [f"{data}/{i:02d}.png" for i in range(20)]
    names[13:14] = [f"{data}/13.png#1", f"{data}/13.png#2"]
    names.insert(16, f"{data}/14\\udcff.png")
    assert [row["path"] for row in found] == [*names, *(f"file://{more}/{i}.png" for i in range(3))]
    errors = {Path(row["path"]).name: row["error"] for row in found if row["error"]}
    assert errors.keys() == {"03.png", "05.png", "1.png", "2.png"}
    assert errors["03.png"] == f"{data}/03.png: is bad"
    assert errors["05.png"].startswith(f"{data}/05.png: ended the process that read it 2 times")
    assert errors["1.png"] == f"file://{more}/1.png: is bad"
    assert errors["2.png"].startswith(f"file://{more}/2.png: cannot be fetched (FileNotFoundError")
    assert {row["path"]: row["text"] for row in found}[f"{data}/12.png"] == "once"

    before = {file: file.stat().st_mtime_ns for file in out.glob("part*")}
    capsys.readouterr()
    assert scale_task.main(config) == 1  # whole already
    assert "is whole already" in capsys.readouterr().err
    (out / "part-00001.parquet").unlink()  # as if the run had been killed
    assert scale_task.main(config) == 1
    assert "16 of 24 pictures are done" in capsys.readouterr().err
    assert rows(out) == found
    anew = [file.name for file, at in before.items() if file.stat().st_mtime_ns != at]
    assert anew == ["part-00001.parquet"]

    for changed, reason in (
        (replace(config, times=2), "--times was 1 and is 2"),
        (replace(config, paths=(str(data),)), r"the list of files is another \(24 then, 21 now\)"),
    ):
        with pytest.raises(UsageError, match=reason):
            scale_task.main(changed)
    (model / "config.json").write_text('{"other": 1}')
    with pytest.raises(UsageError, match="the model is another"):
        scale_task.main(config)


def test_bad_usage(model, tmp_path):
    data = write_files(tmp_path / "data", {"a.png": "text"})
    (tmp_path / "file").touch()
    write_files(tmp_path / "full", {"notes.txt": "mine"})
    for changed, reason in (
        ({"out": None}, "name it with --out"),
        ({"actors": -1}, "--actors -1"),
        ({"still": "x.png"}, "--still does not go with --engine ray"),
        ({"out": str(tmp_path / "file")}, "is a file"),
        ({"out": str(tmp_path / "full")}, "holds notes.txt"),
        ({"out": "nosuch://x"}, "nosuch"),
        ({"paths": ()}, "no pictures given"),
    ):
        with pytest.raises(UsageError, match=reason):
            scale_task.main(replace(flags(tmp_path, data), **changed))
    with pytest.raises(VisionError, match="no pictures found"):
        scale_task.main(flags(tmp_path, tmp_path / "full"))


def slow_files(folder: Path, count: int) -> Path:
    return write_files(folder, {f"{i:03d}.png": f"slow {i}" for i in range(count)})


def test_a_worker_that_is_killed_costs_no_file(cluster, small, model, tmp_path):
    data = slow_files(tmp_path / "data", 40)

    def kill() -> None:
        killed = set()
        while len(killed) < 2:
            for file in data.glob("pid-*"):
                pid = int(file.name[4:])
                if pid not in killed:
                    time.sleep(0.05)
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    assert scale_task.main(flags(tmp_path, data, actors=1)) == 0
    killer.join()
    assert [row["text"] for row in rows(tmp_path / "out.parquet")] == [f"slow {i}" for i in range(40)]


def test_a_run_that_is_killed_goes_on(cluster, model, tmp_path):
    data, out = slow_files(tmp_path / "data", 400), tmp_path / "out.parquet"
    command = [sys.executable, "-m", "tests.common.scale_task", data, "--model", model, "--out", out,
               "--engine", "ray", "--actors", "1"]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        while not list(out.glob("part*")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.kill()
    done = {file: file.stat().st_mtime_ns for file in out.glob("part*")}
    assert len(done) == 1
    (out / "_aside").mkdir(exist_ok=True)
    (out / "_aside" / "half").write_text("half of a file")
    assert scale_task.main(flags(tmp_path, data, actors=1)) == 0
    assert [row["text"] for row in rows(out)] == [f"slow {i}" for i in range(400)]
    assert all(file.stat().st_mtime_ns == at for file, at in done.items())
    assert names_of(out) == ["_run.json", *(f"part-0000{i}.parquet" for i in range(2))]
