import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import UsageError
from common.folds import FoldFlags, fold_groups, train_folds

GROUPS = [f"g{g}" for g in range(6) for _ in range(g + 1)]


@dataclass(frozen=True, kw_only=True)
class Flags(FoldFlags):
    out: Path
    seed: int = 3
    patience: int = 5
    keep: str = "best"
    resume: bool = False
    epochs: int = 2


class Trained(list):
    """Notes what was trained on; the last epoch's score is the share of the samples that are held out."""

    def __call__(self, config, parts):
        assert (config.patience, config.keep) == (0, "last")
        self.append((config.out.name, parts))
        config.out.mkdir(parents=True)
        share = 100 * len(parts["val"]) / sum(map(len, parts.values()))
        (config.out / "metrics.csv").write_text(f"epoch,score,num\n0,1,1\n1,{share},{len(parts['val'])}.0\n")


def run(flags, trained):
    parts = {"train": GROUPS[:15], "val": GROUPS[15:]}
    train_folds(
        flags, parts, lambda sample: sample, trained, scores=("score",), count="num", facts=("patience",)
    )


def test_folds_keep_groups_whole_and_even():
    folds = fold_groups(GROUPS, 3)
    assert sorted(group for fold in folds for group in fold) == sorted(set(GROUPS))
    assert {sum(int(group[1]) + 1 for group in fold) for fold in folds} == {7}
    assert [len(fold) for fold in fold_groups(GROUPS, 6)] == [1] * 6
    with pytest.raises(UsageError, match="--folds 7: must be 2 to 6"):
        fold_groups(GROUPS, 7)


def test_each_group_is_held_out_once_and_the_last_epoch_counts(tmp_path, capsys):
    trained = Trained()
    run(Flags(out=tmp_path, folds="2"), trained)
    assert [name for name, _ in trained] == ["fold-1", "fold-2"]
    for _, parts in trained:
        assert not set(parts["train"]) & set(parts["val"])
        assert sorted(parts["train"] + parts["val"]) == sorted(GROUPS)
    report = json.loads((tmp_path / "folds.json").read_text())
    held = [fold["num"] for fold in report["folds"]]
    assert sum(held) == report["num"] == len(GROUPS)
    assert report["score"] == pytest.approx(sum(100 * n * n for n in held) / len(GROUPS) ** 2, abs=0.01)
    assert sorted(g for fold in report["folds"] for g in fold["groups"]) == sorted(set(GROUPS))
    assert (report["seed"], report["patience"]) == (3, 5)
    assert "2 folds:" in capsys.readouterr().out


def test_resumed_folds_go_on_where_they_were(tmp_path):
    class Killed(Trained):
        def __call__(self, config, parts):
            resumed.append((config.out.name, config.resume))
            if not config.resume:
                super().__call__(config, parts)
                (config.out / "train_config.json").write_text("{}")
            if len(resumed) == 2:
                raise KeyboardInterrupt

    resumed: list[tuple[str, bool]] = []
    with pytest.raises(KeyboardInterrupt):
        run(Flags(out=tmp_path, folds="3"), Killed())
    assert not (tmp_path / "folds.json").exists()
    run(Flags(out=tmp_path, folds="3", resume=True), Killed())
    assert resumed[2:] == [("fold-1", True), ("fold-2", True), ("fold-3", False)]
    assert json.loads((tmp_path / "folds.json").read_text())["num"] == len(GROUPS)


def test_group_is_a_fold_a_group_and_all_holds_nothing_out(tmp_path):
    trained = Trained()
    run(Flags(out=tmp_path / "group", folds="group"), trained)
    assert [len(set(parts["val"])) for _, parts in trained] == [1] * 6
    trained = Trained()
    run(Flags(out=tmp_path / "all", folds="all"), trained)
    [(name, parts)] = trained
    assert name == "all"
    assert parts["train"] == GROUPS
    assert parts["val"] == GROUPS[15:]
    assert not (tmp_path / "all" / "folds.json").exists()


def test_without_folds_one_model_by_the_flags_as_they_are(tmp_path, capsys):
    found = []
    run(Flags(out=tmp_path), lambda config, parts: found.append((config, parts)))
    assert found == [(Flags(out=tmp_path), {"train": GROUPS[:15], "val": GROUPS[15:]})]
    assert f"best model: {tmp_path / 'best'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"folds": "some"}, "--folds some: expected 'group', 'all' or a number"),
        ({"folds": "²"}, "expected 'group', 'all' or a number"),
        ({"folds": "0"}, "--folds 0: must be 2 to 6"),
        ({"folds": "1"}, "--folds 1: must be 2 to 6"),
    ],
)
def test_flags_that_make_no_folds(tmp_path, flags, says):
    with pytest.raises(UsageError, match=says):
        run(Flags(out=tmp_path, **flags), Trained())
    assert not any(tmp_path.iterdir())
