"""The tasks, one entry each: what the README's table is written from.

Nothing is imported here but the standard library.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score of the bundled model, and what to compare it with."""

    report: str
    """Report file, from the project's root."""
    key: str
    """Its key in the report."""
    name: str
    """What it is called, and on what it was measured."""
    peer: str
    """The best published or measured peer, with where its number is from."""
    speed: tuple[str, str]
    """Key of a number in the report, and what is counted in a second; "A/B" divides."""


@dataclass(frozen=True)
class Task:
    """A task of the suite."""

    title: str
    """Its name in the field."""
    package: str
    """Its package; the page is docs/PACKAGE.md, its results docs/results/PACKAGE.md."""
    command: str
    """A command that uses it."""
    model: str = ""
    """The bundled model that is used when none is named."""
    score: Score | None = None
    """How good it is; None where no model comes along."""


TASKS = (
    Task(
        title="Image captioning",
        package="captioning",
        command="python scripts/caption.py photo.jpg",
        model="flickr8k",
        score=Score(
            "reports/captioning/flickr8k_beam5.json",
            "cider_d",
            "CIDEr-D on 1,000 photos of Flickr8k's val",
            "59 on its test part (Lu et al. 2017, trained ResNet-152)",
            ("num_images/seconds", "images"),
        ),
    ),
    Task(
        title="Text recognition",
        package="ocr",
        command="python scripts/read_text.py page.jpg",
        model="english",
        score=Score(
            "reports/ocr/lines_sroie.json",
            "case_insensitive",
            "% of 3,130 lines of receipts (SROIE) kept for val; on others about 4 less",
            "85 (RapidOCR), 63 (Tesseract), on others of them",
            ("lines_per_second", "lines"),
        ),
    ),
    Task(
        title="Action recognition in video",
        package="video",
        command="python scripts/classify_video.py clip.mp4",
        model="utd-mhad",
        score=Score(
            "reports/video/utd_bundled.json",
            "top_1",
            "top-1 % on UTD-MHAD, a subject that training never saw",
            "79 (Chen et al. 2015, depth and inertial sensors)",
            ("frames_per_second", "frames"),
        ),
    ),
    Task(
        title="Semantic segmentation",
        package="segmentation",
        command="python scripts/segment.py street.jpg",
        model="camvid",
        score=Score(
            "reports/segmentation/camvid.json",
            "mean_iou",
            "mean IoU on CamVid's val, one drive; on the test part about 10 less",
            "69 on the test part (BiSeNet, Yu et al. 2018)",
            ("images_per_second", "images"),
        ),
    ),
    Task(
        title="Visual question answering",
        package="vqa",
        command='python scripts/ask.py photo.jpg "what is on the table?"',
        model="daquar",
        score=Score(
            "reports/vqa/san_seed0.json",
            "accuracy",
            "exact match, %, on DAQUAR's val; without the photo 21.7",
            "29 on the test part (Yang et al. 2016)",
            ("num_questions/seconds", "questions"),
        ),
    ),
    Task(
        title="Time series forecasting",
        package="forecasting",
        command="python scripts/forecast.py --data FILE.csv --model RUN",
        score=Score(
            "reports/forecasting/chosen_sunspots.json",
            "rmse",
            "RMSE of monthly sunspots, a month ahead, last fifth",
            "22.6 (AR), 23.8 (Holt-Winters), the same months",
            ("", ""),
        ),
    ),
)
