"""Draw BLEU over the length of the source sentence, a line for each report.

python benchmarks/translation_length.py --reports WITH.json WITHOUT.json --out FILE.png

With attention the score holds on long sentences; one vector for the whole sentence does not (Cho et al. 2014,
"On the properties of neural machine translation", figure 4).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from common.cli import run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    reports: tuple[Path, ...]
    """Reports of `evaluate translation`."""
    out: Path
    """PNG file to write."""


def main(config: Config) -> None:
    """Draw."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    for file in config.reports:
        report = json.loads(file.read_text(encoding="utf-8"))
        groups = report["per_length"]
        labels = [f"{group['words']}\n({group['sentences']})" for group in groups]
        attention = "no attention" if report["attention"] == "none" else f"attention: {report['attention']}"
        axis.plot(labels, [group["bleu"] for group in groups], marker="o", label=attention)
    axis.set(xlabel="words of the source sentence (sentences)", ylabel="BLEU", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(config.out, dpi=110, format="png")


if __name__ == "__main__":
    run(main, Config, __doc__)
