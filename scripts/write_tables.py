"""Write the tables of README.md and docs/ from the report files.

    python scripts/write_tables.py

`<!-- table GLOB: COLUMN [COLUMN ...] -->` ... `<!-- end -->` holds a row for each report that matches, globs
relative to the file's folder. A column is a key of its JSON, with dots for keys within keys, and gets its
heading from `HEADINGS`. Reports named NAME_seed0.json, NAME_seed1.json and so on are one row: their mean, and
the lowest and highest. A single row is written upright. `<!-- tasks -->` ... `<!-- end -->` holds a row for
each entry of `visionrnn.tasks.TASKS`.
"""

import glob
import json
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from common.cli import run
from common.errors import UsageError
from visionrnn.tasks import TASKS, Task

ROOT = Path(__file__).parent.parent

HEADINGS = {
    "alphanumeric": "letters and digits %",
    "answered_over_torch.ratio": "answers/s over torch",
    "answers_over_lstm.ratio": "questions/s over a bare LSTM",
    "attention_mib_at_16_times": "attention: times the memory on 16 times the places",
    "attention_seconds_at_16_times": "attention: times as long on 16 times the places",
    "cores_fed": "cores that one driver keeps busy with photos, at least",
    "damaged_read": "damaged images that were read all the same",
    "damaged_refused": "damaged images refused",
    "first_mib": "memory after ten minutes, MiB",
    "growth_mib": "memory growth in the rest, MiB",
    "lines_over_torch.ratio": "times as fast as torch",
    "pages.cpu_hours_a_million": "CPU hours for a million receipts",
    "pages.cpu_seconds_a_page": "CPU seconds a receipt",
    "pages.dollars_a_million.aws_c7i_xlarge": "a million receipts on 4 vCPUs of AWS (c7i), US dollars",
    "pages.dollars_a_million.google_c3_highcpu_4": "a million receipts on 4 vCPUs of Google (c3), US dollars",
    "pages_over_ink.ratio": "pages/s with the finder over those without",
    "paths.done": "of which done when the benchmark stopped",
    "paths.driver_mib": "largest memory of the driver, MiB",
    "paths.files_per_second": "files/s that two cores list, hand out and write without a model",
    "paths.first_batch_seconds": "first results after seconds",
    "right": "right answers",
    "speed.bytes_read_a_picture": "bytes read a photo",
    "speed.bytes_written_a_picture": "bytes written a photo",
    "speed.equal": "captions equal to those of the plain command, of one actor and of two",
    "speed.one_actor_per_second": "photos/s of one actor: a core",
    "speed.overhead_percent": "one actor takes longer than the plain command by %",
    "speed.plain_per_second": "photos/s of the plain command, one thread",
    "speed.plain_start_seconds": "start of the plain command, seconds",
    "speed.ray_start_seconds": "start of Ray and the actors, seconds",
    "speed.two_actors_per_second": "photos/s of two actors: a node of two cores without a GPU",
    "speed.two_over_one": "two actors over one plain process, times",
    "speed.two_plain_over_one": "two plain processes over one, times",
    "speed.two_plain_per_second": "photos/s of two plain commands side by side",
    "kills.whole.driver": "whole tables after kills of the driver",
    "kills.whole.worker": "whole tables after kills of a worker",
    "kills.kills": "kills of each",
    "batched_over_single.ratio": "beam search in batches of 32 over one by one",
    "bleu": "BLEU",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "by_answer_type.number.accuracy": "counts %",
    "by_answer_type.other.accuracy": "colours, forms and what lies in one %",
    "cache_memory_gib": "memory of a cache of COCO's size, GiB",
    "case_insensitive": "without case %",
    "cer": "CER %",
    "chrf": "chrF",
    "cider_d": "CIDEr-D",
    "class_accuracy": "class accuracy %",
    "clips_over_encoder.ratio": "clips/s over decoding and bare encoder",
    "clips_over_torch.ratio": "clips/s over torch",
    "cold_cpu_over_imports.ratio": "cold CPU time over importing torch and timm",
    "cold_memory_mib": "its largest memory, MiB",
    "concepts_cost": "share of time that concepts cost",
    "exact": "exact %",
    "feeding_over_lstm.ratio": "words/s of training with input feeding over a bare LSTM",
    "first_cpu_over_imports.ratio": "the same the first time on a machine",
    "first_memory_mib": "largest memory the first time, MiB",
    "folder_over_torch_bf16.ratio": "images/s over torch in bf16",
    "folder_over_torch_fp32.ratio": "images/s over torch in fp32",
    "folder_over_encoder.ratio": "images/s over the bare encoder",
    "join": "digits in a string",
    "kneser_ney_over_lines": "Kneser-Ney of 5 over lines, nats",
    "mae": "MAE",
    "mape": "MAPE %",
    "mase": "MASE",
    "mean_iou": "mean IoU %",
    "meteor": "METEOR",
    "nats_per_character": "nats a character",
    "bits_per_character": "bits a character",
    "ngrams": "n-grams, nats",
    "ngrams_microseconds": "n-grams, microseconds a character",
    "num_unanswerable": "answers unknown to train",
    "over_loop.ratio": "ReNet over a loop of cells, times as fast",
    "over_tesseract.ratio": "times as fast as Tesseract",
    "page_bag_of_words_f1": "F1 of words",
    "page_cer": "CER %",
    "page_memory_gib": "memory of a page, GiB",
    "pixel_accuracy": "pixel accuracy %",
    "prior_accuracy": "most frequent %",
    "question_only_accuracy": "question alone %",
    "question_only_wups_0_9": "question alone, WUPS",
    "reading_over_opencv.ratio": "frames/s of reading over OpenCV",
    "renet_mib_at_16_times": "ReNet: times the memory on 16 times the places",
    "renet_seconds_at_16_times": "ReNet: times as long on 16 times the places",
    "reward_share": "rewards' share of a self-critical step",
    "rmse": "RMSE",
    "rmse_per_origin": "RMSE of an origin",
    "rouge_l": "ROUGE-L",
    "rnn": "RNN, each line by itself, nats",
    "rnn_microseconds": "RNN, microseconds a character",
    "rnn_over_lines": "RNN, state carried over lines, nats",
    "segmentation_over_torch.ratio": "images/s over torch",
    "segmentation_over_encoder.ratio": "images/s over the bare encoder",
    "share_in_own_half": "attention in the own half %",
    "set_accuracy": "as sets %",
    "shuffled_top_1": "shuffled top-1 %",
    "stream_growth_mib": "memory an hour-long recording adds, MiB",
    "top_1": "top-1 %",
    "top_5": "top-5 %",
    "trained_over_lstm.ratio": "characters/s of training over a bare LSTM",
    "training_over_lstm.ratio": "words/s of training over a bare LSTM",
    "unknown_words.bleu": "BLEU of sentences with unknown words",
    "val_rmse": "RMSE on val",
    "wer": "WER %",
    "real_time_factor": "real-time factor, one thread",
    "stream_real_time_factor": "real-time factor of a stream, one thread",
    "audio_seconds": "seconds of sound",
    "wrong": "wrong answers",
    "wups_0_9": "WUPS",
    "with_looks_over_lstm.ratio": "with its looks computed, over a bare LSTM",
    "written_fp32_over_loop.ratio": "the same with weights in fp32",
    "written_over_loop.ratio": "characters/s written over a loop of LSTMCell",
}
"""Keys of reports in words; one that is missing here is shown with spaces for underscores."""
BASELINES = {
    "ar": "AR",
    "kneser_ney_5": "Kneser-Ney of 5",
    "unigram": "unigram",
    "holt_winters": "Holt-Winters",
    "naive": "naive",
    "seasonal_naive": "seasonal naive",
}
"""`baselines.NAME.SCORE` is headed by the baseline and the score."""


@dataclass(frozen=True)
class Config:
    """Flags."""

    file: tuple[Path, ...] = ()
    """Files to rewrite; without it README.md and all of docs/."""


def documents() -> list[Path]:
    """README.md and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def heading(column: str) -> str:
    """A column in words."""
    keys = column.split(".")
    if keys[0] == "baselines":
        return f"{heading(keys[2])}, {BASELINES[keys[1]]}"
    if column in ("seed", "seeds"):
        return "seeds"
    return HEADINGS.get(column, keys[-1].replace("_", " ").removeprefix("num "))


def value(report: dict[str, Any], column: str) -> Any:
    """What a report holds under a key, "" where it has none."""
    found: Any = report
    for key in column.split("."):
        found = found.get(key, "") if isinstance(found, dict) else ""
    return found


def cell(values: list[Any], column: str) -> str:
    """The values of a column, one for each seed, as one cell."""
    flat = [item for found in values for item in (found if isinstance(found, list) else [found])]
    if column in ("seed", "seeds"):
        return str(len(flat))
    flat = [("no", "yes")[item] if isinstance(item, bool) else item for item in flat]
    if len(set(flat)) > 1 and all(type(item) in (int, float) for item in flat):
        decimals = max(len(str(item).partition(".")[2]) for item in flat)
        shown = f",.{min(decimals, 3 if max(flat) < 1 else 2)}f"
        mean, low, high = (format(item, shown) for item in (sum(flat) / len(flat), min(flat), max(flat)))
        return mean if low == high else f"{mean} ({low} to {high})"
    return ", ".join(dict.fromkeys(f"{x:,}" if isinstance(x, int) else str(x) for x in flat))


def _natural(file: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def rows_of(files: list[Path], columns: list[str]) -> list[list[str]]:
    """A row for each report, or for each group of them that differ in their seed."""
    rows = []
    for _, group in groupby(sorted(files, key=_natural), lambda file: re.sub(r"_seed\d+$", "", file.stem)):
        reports = [json.loads(file.read_text(encoding="utf-8")) for file in group]
        rows.append([cell([value(report, column) for report in reports], column) for column in columns])
    return rows


def layout(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, upright where it has one row of several columns."""
    if len(rows) == 1 and len(heads) > 3:
        heads, rows = ["", ""], [[head, found] for head, found in zip(heads, rows[0], strict=True)]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def task_row(task: Task) -> list[str]:
    """The row of a task: its score, peer, size and speed, and the command."""
    command = f"`visionrnn {task.verb} {task.example}`"
    page = f"[{task.title}](docs/{task.package}.md)"
    card, size = "trained on yours", ""
    if task.model:
        folder = Path(task.package, "pretrained", task.model)
        card = f"[{task.model}]({folder.as_posix()}/README.md)"
        size = f"{(ROOT / folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB"
    if task.score is None:
        return [page, card, "", "", size, "", command]
    report = json.loads((ROOT / task.score.report).read_text(encoding="utf-8"))
    key, unit = task.score.speed
    speed = ""
    if key:
        file = ROOT / (task.score.speed_report or task.score.report)
        timed = json.loads(file.read_text(encoding="utf-8"))
        above, _, below = key.partition("/")
        rate = timed[above] / (timed[below] if below else 1)
        speed = f"{rate:,.0f} {unit}/s"
    found = report[task.score.key]
    score = f"**{found:.{1 if found >= 10 else 2}f}** {task.score.name} ({task.score.held})"
    return [page, card, score, task.score.peer, size, speed, command]


def tables(text: str, folder: Path) -> str:
    """`text` with every table made anew. Raises UsageError where no report matches."""

    def make(match: re.Match[str]) -> str:
        if match["glob"] is None:
            heads = [
                "task",
                "model",
                "score on data that training did not see",
                "best peer",
                "size",
                "speed",
                "command",
            ]
            return f"{match['head']}\n{layout(heads, [task_row(task) for task in TASKS])}\n<!-- end -->"
        pattern, columns = match["glob"], match["columns"].split()
        files = [Path(file) for file in glob.glob(str(folder / pattern))]
        if not files:
            raise UsageError(f"no report matches {pattern}")
        table = layout([heading(column) for column in columns], rows_of(files, columns))
        return f"{match['head']}\n{table}\n<!-- end -->"

    pattern = r"(?P<head><!-- (?:tasks|table (?P<glob>\S+): (?P<columns>[^>]*?)) -->)\n.*?<!-- end -->"
    return re.sub(pattern, make, text, flags=re.DOTALL)


def main(config: Config) -> None:
    """Rewrite the files."""
    for file in config.file or documents():
        text = file.read_text(encoding="utf-8")
        file.write_text(tables(text, file.resolve().parent), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
