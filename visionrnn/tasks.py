"""The tasks, one entry each: the commands and the README's table are made from it.

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
    held: str = "val: the epoch was chosen on it"
    """How the data were kept from training, and what was chosen on them all the same."""
    speed_report: str = ""
    """The report that has the speed, where it is another one."""


@dataclass(frozen=True)
class Task:
    """A task of the suite."""

    title: str
    """Its name in the field."""
    package: str
    """Its package; the page is docs/PACKAGE.md, its results docs/results/PACKAGE.md."""
    verb: str
    """`visionrnn VERB` uses it: `Config` and `main` of PACKAGE/command.py."""
    does: str
    """What the verb does, for the list of commands."""
    example: str
    """What may stand behind the verb."""
    trainer: str
    """Name of the flags of PACKAGE/training.py, beside its `train`."""
    model: str = ""
    """The bundled model that is used when none is named."""
    score: Score | None = None
    """How good it is; None where no model comes along."""
    extra: str = ""
    """The extra of setup.cfg that it needs."""


TASKS = (
    Task(
        title="Image captioning",
        package="captioning",
        verb="caption",
        does="Say what photos show.",
        example="photo.jpg",
        trainer="CaptioningConfig",
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
        verb="read",
        does="Read the text of pages, or of lines and words.",
        example="page.jpg",
        trainer="OcrConfig",
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
        verb="classify",
        does="Name what happens in clips, recordings, cameras.",
        example="clip.mp4",
        trainer="VideoConfig",
        model="utd-mhad",
        score=Score(
            "reports/video/utd_folds.json",
            "top_1",
            "top-1 % on UTD-MHAD, each of four subjects left out once; what is bundled saw all four",
            "79 (Chen et al. 2015, depth and inertial sensors)",
            ("frames_per_second", "frames"),
            held="folds: no epoch was chosen",
            speed_report="reports/video/utd_subject7.json",
        ),
    ),
    Task(
        title="Semantic segmentation",
        package="segmentation",
        verb="segment",
        does="Name the class of each pixel.",
        example="street.jpg",
        trainer="SegmentationConfig",
        model="camvid",
        score=Score(
            "reports/segmentation/unseen_drive_lovasz.json",
            "mean_iou",
            "mean IoU on a drive of CamVid that a shorter training left out; what is bundled saw it",
            "69 on the test part, which shows one of train's drives, too (BiSeNet, Yu et al. 2018)",
            ("images_per_second", "images"),
            held="one drive: no epoch was chosen",
            speed_report="reports/segmentation/camvid_fit.json",
        ),
    ),
    Task(
        title="Visual question answering",
        package="vqa",
        verb="ask",
        does="Answer questions about a photo.",
        example='photo.jpg "what is on the table?"',
        trainer="VqaConfig",
        model="daquar",
        score=Score(
            "reports/vqa/daquar_members.json",
            "accuracy",
            "exact match % on DAQUAR's 6,795 questions, each photo held out once; without it 21.5",
            "29 on the test part (Yang et al. 2016)",
            ("num_questions/seconds", "questions"),
            held="folds: nothing was chosen but LSTM or GRU",
            speed_report="reports/vqa/daquar_fit.json",
        ),
    ),
    Task(
        title="Time series forecasting",
        package="forecasting",
        verb="forecast",
        does="Forecast the next rows of a table.",
        example="FILE.csv --model RUN",
        trainer="ForecastingConfig",
        score=Score(
            "reports/forecasting/chosen_sunspots.json",
            "rmse",
            "RMSE of monthly sunspots, a month ahead, last fifth",
            "22.6 (AR), 23.8 (Holt-Winters), the same months",
            ("", ""),
            held="test: nothing was chosen on it",
        ),
        extra="forecast",
    ),
    Task(
        title="Language modelling",
        package="language",
        verb="write",
        does="Go on writing a text.",
        example='--prompt "ROMEO:"',
        trainer="LanguageConfig",
        model="shakespeare",
        score=Score(
            "reports/language/shakespeare.json",
            "nats_per_character",
            "nats a character on the last tenth of Tiny Shakespeare",
            "1.47 (nanoGPT, a Transformer of 10.6 million), 1.58 (5-gram Kneser-Ney)",
            ("num_characters/seconds", "characters"),
        ),
    ),
    Task(
        title="Machine translation",
        package="translation",
        verb="translate",
        does="Translate text, one sentence a line.",
        example="FILE.txt",
        trainer="TranslationTraining",
        model="multi30k-en-de",
        score=Score(
            "reports/translation/multi30k-en-de_beam5.json",
            "bleu",
            "BLEU on Multi30k's val, English to German",
            "about 38 on its 2016 test part, in lower case (RNN, Caglayan et al. 2017, from memory)",
            ("num_pairs/seconds", "sentences"),
        ),
    ),
    Task(
        title="Speech recognition",
        package="speech",
        verb="transcribe",
        does="Write down what is said in recordings and videos.",
        example="FILE.wav",
        trainer="SpeechTraining",
        model="digits",
        score=Score(
            "reports/speech/digits_val.json",
            "exact",
            "% of single English digits of a speaker that training never heard",
            "97 and more where val has speakers of train (from memory)",
            ("audio_seconds/seconds", "seconds of sound"),
        ),
    ),
)
