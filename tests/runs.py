"""A small training of each task, in this process or in processes of their own.

The processes are forked from a server that has imported libraries and trainings, so that a run costs no
import.
"""

import csv
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.conftest import (
    SCRIPTS,
    TINY_ENCODER,
    tiny_model,
    write_lines,
    write_shapes,
    write_weights,
)
from tests.forecasting.conftest import write_series
from tests.language.conftest import write_text
from tests.ocr.conftest import write_whole_pages
from tests.segmentation.conftest import IGNORED, TINY_STRIDED, write_scenes
from tests.speech.conftest import write_speech
from tests.translation.conftest import write_pairs
from tests.video.conftest import write_clips
from tests.vqa.conftest import write_questions

TASKS = (
    "captioning", "self_critical", "ocr", "line_finder", "video", "segmentation", "vqa", "forecasting",
    "language", "translation", "speech",
)  # fmt: skip
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "tests.runs", "torch.utils.tensorboard", "captioning.training", "forecasting.training",
        "language.training", "ocr.finder_training", "ocr.training", "segmentation.training",
        "speech.training", "translation.training", "video.training", "vqa.training",
    ]
)  # fmt: skip


def command(task: str, root: Path) -> list[str]:
    """Script and flags of a small training; its data is made under `root`, where it is not there yet."""
    data, weights = root / "data", root / "weights.safetensors"
    common = ("--batch-size", 8, "--workers", 0, "--device", "cpu", "--precision", "fp32", "--patience", 0)
    encoder = ("--encoder", TINY_ENCODER, "--encoder-weights", weights, "--image-size", 64, "--dropout", 0,
               "--cache", root / "cache")  # fmt: skip
    write: Any = {"captioning": write_shapes, "self_critical": write_shapes, "ocr": write_lines,
                  "line_finder": write_whole_pages, "video": write_clips,
                  "segmentation": write_scenes, "vqa": write_questions, "forecasting": write_series,
                  "language": write_text, "translation": write_pairs, "speech": write_speech}  # fmt: skip
    if not root.exists():
        root.mkdir()
        write_weights(weights, TINY_STRIDED if task in ("segmentation", "line_finder") else TINY_ENCODER)
        write[task](data)
        if task == "self_critical":
            tiny_model().save_pretrained(root / "model")
        if task == "captioning":  # for trainings with all that is random
            tiny_model("between", dropout=0.3, concepts=3, score="dot").save_pretrained(root / "concepts")
            (root / "text.txt").write_text("A big elephant.\nTwo elephants on grey.\nThe dog is red.\n")
    sizes = ("--hidden-size", 16, "--embedding-size", 8)
    flags: dict[str, tuple[Any, ...]] = {
        "captioning": (*encoder, *sizes, "--min-count", 1, "--max-length", 8),
        "self_critical": (*encoder, "--init-from", root / "model", "--self-critical", "--samples", 3),
        "ocr": ("--val-last", "2groups", "--hidden-size", 16, "--layers", 1, "--dropout", 0),
        "line_finder": ("--encoder", TINY_STRIDED, "--encoder-weights", weights, "--width", 16, "--side", 96,
                        "--val-last", 2, "--batch-size", 4),
        "video": (*encoder, "--frames", 6, "--hidden-size", 16, "--place-size", 8),
        "segmentation": ("--encoder", TINY_STRIDED, "--encoder-weights", weights, "--stride", 16, "--width",
                         16, "--image-size", 64, 80, "--crop", 64, 64, "--scales", 0.8, 1.25, "--dropout", 0,
                         "--ignore-label", IGNORED, "--batch-size", 4),
        "vqa": (*encoder, *sizes, "--attention-size", 8),
        "forecasting": ("--date-column", "date", "--value-column", "value", "--window", 12, "--horizon", 3,
                        "--base", "seasonal_naive", "--hidden-size", 8, "--test", 24, "--val", 24),
        "translation": ("--source", "en", "--target", "de", *sizes, "--attention-size", 8, "--subwords", 100,
                        "--dropout", 0),
        "speech": ("--sample-rate", 8000, "--bands", 16, "--channels", 4, "--hidden-size", 8, "--layers", 1,
                   "--dropout", 0, "--cache", root / "cache"),
        "language": (*sizes, "--steps", 16, "--input-dropout", 0, "--dropout", 0, "--weight-dropout", 0),
    }  # fmt: skip
    name = "captioning" if task == "self_critical" else task
    return [str(SCRIPTS / f"train_{name}.py"), *map(str, ("--data", data, *common, *flags[task]))]


def run_script(
    arguments: Sequence[str],
    log: Path,
    environment: dict[str, str],
    stop: signal.Signals | None,
    file_size: int | None = None,
) -> None:
    os.environ.update(environment)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
    torch.set_num_threads(1)
    if sys.platform == "linux" and sys.version_info < (3, 14):
        multiprocessing.set_start_method("fork", force=True)  # as in a user's process; else the server's
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if stop is not None:
        _stop_in_its_second_epoch(stop)
    sys.argv = list(arguments)
    runpy.run_path(arguments[0], run_name="__main__")


def _stop_in_its_second_epoch(stop: signal.Signals) -> None:
    """Send this process a signal at the second step of its second epoch, when a checkpoint is behind it."""
    from common.training import RunFolder

    real, epochs = RunFolder.on_train_batch_start, set()

    def start(self: Any, trainer: Any, module: Any, batch: Any, index: int) -> None:
        real(self, trainer, module, batch, index)
        epochs.add(trainer.current_epoch)
        if len(epochs) == 2 and index == 1:
            os.kill(os.getpid(), stop)

    RunFolder.on_train_batch_start = start  # type: ignore[method-assign]


def run(
    arguments: Sequence[object],
    log: Path,
    *,
    processes: int = 1,
    stop: signal.Signals | None = None,
    file_size: int | None = None,
) -> list[int | None]:
    """Run a script, its output in `log` (of a second process, in `log` with a 1 behind) -> exit codes.

    Args:
        arguments: the script and its flags.
        log: file of the output.
        processes: so many, as torchrun starts them on one machine.
        stop: a signal that the process gets in its second epoch.
        file_size: most bytes that a file may grow to.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(processes):
        environment = {"OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {"TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank),
                            "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
                            "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": port}  # fmt: skip
        file = log.with_name(f"{log.name}{rank or ''}")
        process = PROCESSES.Process(
            target=run_script, args=([*map(str, arguments)], file, environment, stop, file_size)
        )
        process.start()
        started.append(process)
    for process in started:
        process.join(240)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in started]


def history(run_folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv` without the seconds."""
    with (run_folder / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(run_folder / "last.ckpt", weights_only=True)["state_dict"]
    return state


if __name__ == "__main__":  # a script under torchrun, with a list of the pictures that it opens
    with Path(sys.argv[1]).open("w") as opened:

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and str(arguments[0]).endswith(".png"):
                print(arguments[0], file=opened, flush=True)

        sys.addaudithook(watch)
        del sys.argv[:2]
        runpy.run_path(sys.argv[0], run_name="__main__")
