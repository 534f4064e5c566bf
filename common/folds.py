"""Cross-validation: every group - a person, a photo, a source - is left out once of what trains."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from common.cli import command_line
from common.errors import UsageError
from common.files import write_aside
from common.run_folder import CONFIG_FILE
from common.training import keep_flags

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FoldFlags:
    """The flag of a training that can leave out groups; `out`, `seed` and others come from `TrainConfig`."""

    folds: str = ""
    """group: leave one group out; a number: so many folds by group. Uses train and val together, trains one
    model per fold in OUT/fold-N and scores each on its own fold. all: one model of all of it, as the folds
    are trained, in OUT; nothing is left to score it on."""


def fold_groups(groups: Iterable[str], folds: int) -> list[list[str]]:
    """Groups in `folds` parts of about as many samples each, the largest groups first.

    Args:
        groups: the group of each sample.
        folds: parts.

    Raises:
        UsageError: more folds than groups, or a single one.
    """
    counts = Counter(groups)
    if not 2 <= folds <= len(counts):
        raise UsageError(f"--folds {folds}: must be 2 to {len(counts)}, the number of groups")
    parts: list[list[str]] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for group, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(group)
        sizes[smallest] += count
    return parts


def train_folds(
    config: Any,
    parts: dict[str, list[T]],
    group_of: Callable[[T], str],
    train: Callable[[Any, dict[str, list[T]]], None],
    *,
    scores: Sequence[str],
    count: str,
    facts: Sequence[str],
) -> None:
    """Train as `--folds` says; without it, one model on train by the flags as they are.

    The scores of all folds are written to `folds.json` in `config.out`. With `--resume` folds that are
    finished are not trained again. No epoch is chosen: each of their
    models is the one of the last epoch, so that what is held out has no say in it.

    Args:
        config: flags of a `TrainConfig` and `FoldFlags`.
        parts: samples of train and val.
        group_of: the group of a sample.
        train: trains one model by flags on parts `train` and `val`.
        scores: columns of its `metrics.csv`; means over the samples of val.
        count: the column of how many these are.
        facts: flags that the report repeats.

    Raises:
        UsageError: no such folds.
    """
    if not config.folds:
        train(config, parts)
        print(f"best model: {config.out / 'best'}")
        return
    samples = [sample for part in parts.values() for sample in part]
    if config.folds == "all":
        print("all of train and val is trained on: the scores below are of what was seen", flush=True)
        train(replace(config, patience=0, keep="last"), {"train": samples, "val": parts["val"]})
        print(f"model of the last epoch: {config.out / 'best'}")
        return
    if config.folds != "group" and not config.folds.isdecimal():
        raise UsageError(f"--folds {config.folds}: expected 'group', 'all' or a number")
    of_samples = [group_of(sample) for sample in samples]
    number = len(set(of_samples)) if config.folds == "group" else int(config.folds)
    held_out = fold_groups(of_samples, number)
    rows = []
    config.out.mkdir(parents=True, exist_ok=True)
    keep_flags(config)
    for fold, groups in enumerate(held_out, 1):
        held = set(groups)
        of_fold = {
            "train": [sample for sample in samples if group_of(sample) not in held],
            "val": [sample for sample in samples if group_of(sample) in held],
        }
        print(f"fold {fold}: {len(of_fold['val']):,} of {len(groups):,} groups are held out", flush=True)
        out = config.out / f"fold-{fold}"
        begun = config.resume and (out / CONFIG_FILE).is_file()
        train(replace(config, out=out, resume=begun, patience=0, keep="last"), of_fold)
        rows.append({"groups": groups, **_last_scores(out / "metrics.csv", scores, count)})
    total = sum(row[count] for row in rows)
    means = {name: round(sum(row[name] * row[count] for row in rows) / total, 2) for name in scores}
    report = {
        **means,
        count: total,
        **{name: _shown(getattr(config, name)) for name in facts},
        "command": command_line(),
        "seed": config.seed,
        "folds": rows,
    }
    with write_aside(config.out / "folds.json") as aside:
        aside.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"{len(rows)} folds:", *(f" {name} {value}" for name, value in means.items()), flush=True)


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _last_scores(file: Path, scores: Sequence[str], count: str) -> dict[str, Any]:
    """The last row of a run's `metrics.csv`."""
    with file.open(newline="", encoding="utf-8") as opened:
        last = list(csv.DictReader(opened))[-1]
    return {count: int(float(last[count])), **{name: round(float(last[name]), 2) for name in scores}}
