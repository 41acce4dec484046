"""The table of commands: each with its line of help, an example, what it calls, and its settings."""

from typing import Final, NamedTuple

START, TRAIN, MEASURE, DATA = "to begin with", "to train", "to measure", "data"
"""What commands are for, in the order in which they are listed."""


class Command(NamedTuple):
    """One command of the command line.

    `target` is called with the settings and returns what it found: a JSON-like dict, or `Told`, which adds what a
    reader is shown. Both it and its settings are named, not imported: the table costs nothing until a command runs.
    """

    group: str
    """What it is for."""
    name: str
    """One word; or two, of which the first is shared: `score blink`."""
    summary: str
    """One line of help."""
    example: str
    """A whole command that shows its use."""
    target: str
    """module:function."""
    settings: str
    """module:class, a dataclass with a docstring under each field."""
    reads_file: bool = False
    """Whether a settings file may stand before the flags; otherwise required settings are given by position."""
    goes_on: str = ""
    """How it is taken up again after an interruption; empty: from its beginning."""
    called: str = "theworld"
    """How the program that runs it is called."""

    @property
    def program(self) -> str:
        """The words that run it: `theworld train`."""
        return f"{self.called} {self.name}".strip()


_SAME = "the same command goes on where it stopped"

COMMANDS: Final = (
    Command(
        START,
        "demo",
        "Simulate, train, evaluate and report at tiny size, on a laptop and without a network.",
        "theworld demo --output-dir demo",
        "theworld.cli.handlers:demo",
        "theworld.config:DemoSettings",
    ),
    Command(
        START,
        "ask",
        "Ask a question about a picture; the answers with and without the world.",
        'theworld ask tiny-foresight picture.png "In which bin does the ball come to rest?"',
        "theworld.cli.handlers:ask",
        "theworld.config:AskSettings",
    ),
    Command(
        START,
        "serve",
        "Answer OpenAI's clients over HTTP: several pictures, streaming, requests in batches.",
        "theworld serve tiny-foresight --port 8000",
        "theworld.cli.handlers:serve",
        "theworld.config.serving:ServeSettings",
    ),
    Command(
        START,
        "app",
        "Show a page in the browser: ask about a picture with and without the world, see what was imagined.",
        "theworld app --model tiny-foresight --port 7860",
        "theworld.cli.handlers:app",
        "theworld.config.serving:AppSettings",
    ),
    Command(
        START,
        "completion",
        "Write what lets a shell complete commands, flags and their values.",
        "theworld completion bash",
        "theworld.cli.completion:complete",
        "theworld.config.commands:CompletionSettings",
    ),
    Command(
        TRAIN,
        "data preview",
        "Look at what a training run would learn from: a page of samples, their lengths, and records that give none.",
        "theworld data preview configs/foresight-tiny.json --num-shown 12",
        "theworld.cli.handlers:preview",
        "theworld.config.commands:PreviewSettings",
        reads_file=True,
    ),
    Command(
        TRAIN,
        "plan",
        "Say what a training run will need on each device, memory by part and moment, before anything loads.",
        "theworld plan configs/foresight-tiny.json --length 300",
        "theworld.cli.handlers:plan",
        "theworld.config.commands:PlanSettings",
        reads_file=True,
    ),
    Command(
        TRAIN,
        "doctor",
        "Look for what would stop a run: libraries, token, licences, memory, disk, folders; exit code 1 on a fault.",
        "theworld doctor configs/foresight-tiny.json",
        "theworld.cli.handlers:doctor",
        "theworld.config.commands:DoctorSettings",
        reads_file=True,
    ),
    Command(
        TRAIN,
        "train",
        "Train a model as a settings file says; any setting can be overridden by its flag.",
        "theworld train configs/foresight-tiny.json --num-steps 50",
        "theworld.training.run:train",
        "theworld.config:TrainingConfig",
        reads_file=True,
        goes_on="`--resume True` goes on from its newest checkpoint",
    ),
    Command(
        TRAIN,
        "slurm",
        "Submit a training run to Slurm: resumed, told before its time is up, and queued again.",
        "theworld slurm configs/foresight-4b.yaml --gpu-type H100 --gpu-count 2 --time 4:00:00 --dry-run",
        "theworld.cli.handlers:slurm",
        "theworld.config.training:SlurmSettings",
    ),
    Command(
        TRAIN,
        "cache fill",
        "Compute the world features that a training run would read, or one share of them, into its feature store.",
        "theworld cache fill configs/foresight-tiny.json --num-shards 4 --shard-index 0",
        "theworld.training.feature_cache:fill",
        "theworld.config.commands:FillSettings",
        reads_file=True,
        goes_on=_SAME,
    ),
    Command(
        TRAIN,
        "cache verify",
        "Say what a feature store holds, and check every feature in it.",
        "theworld cache verify runs/features/foresight-tiny",
        "theworld.cli.handlers:verify_cache",
        "theworld.config.commands:CacheSettings",
    ),
    Command(
        MEASURE,
        "evaluate",
        "Let a model answer a data set, arm by arm, and score the answers.",
        "theworld evaluate --checkpoint tiny-foresight --output-dir runs/eval --data.image-size-px 64",
        "theworld.cli.handlers:evaluate",
        "theworld.config:EvaluationConfig",
        reads_file=True,
        goes_on=_SAME,
    ),
    Command(
        MEASURE,
        "audit",
        "Judge whether a trained model uses its world: the same questions with other world features.",
        "theworld audit tiny-foresight --answers weighed --data.questions dynamic --data.image-size-px 64",
        "theworld.cli.handlers:audit",
        "theworld.config:AuditSettings",
        goes_on=_SAME,
    ),
    Command(
        MEASURE,
        "arms",
        "Compare ways to read the world at equal budget, by outcome labels: run what is missing, draw the table.",
        "theworld arms configs/foresight/arms.yaml --seeds 0",
        "theworld.cli.handlers:arms",
        "theworld.config.experiments:ArmsSettings",
        reads_file=True,
        goes_on=_SAME,
    ),
    Command(
        MEASURE,
        "probe",
        "Say what is linearly readable from each tap, block, noise level and slot.",
        "theworld probe --output-dir runs/probe --world.cosmos-model-name tiny --world.image-size-px 64",
        "theworld.cli.handlers:probe",
        "theworld.config.experiments:ProbeSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "compare",
        "Hold files of predictions against each other: intervals, paired tests, identical files called out.",
        "theworld compare runs/eval/predictions/world.jsonl runs/eval/predictions/blind.jsonl --group-by task",
        "theworld.cli.handlers:compare",
        "theworld.config.commands:CompareSettings",
    ),
    Command(
        MEASURE,
        "score spatial-rgpt",
        "Score saved replies to SpatialRGPT-Bench without a model or a judge.",
        "theworld score spatial-rgpt replies.jsonl --judged correct",
        "theworld.cli.handlers:score",
        "theworld.config.evaluation:SpatialRGPTScoreSettings",
    ),
    Command(
        MEASURE,
        "score blink",
        "Score saved replies to BLINK, in the formats of its repository.",
        "theworld score blink --answers val_answers.json --predictions replies",
        "theworld.cli.handlers:score",
        "theworld.config.evaluation:BlinkScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score vsr",
        "Score saved replies to Visual Spatial Reasoning.",
        "theworld score vsr --annotations test.jsonl --predictions replies.jsonl",
        "theworld.cli.handlers:score",
        "theworld.config.evaluation:VsrScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "judge spatial-rgpt",
        "Have saved replies to SpatialRGPT-Bench judged by a language model, here or at an endpoint.",
        "theworld judge spatial-rgpt replies.jsonl --judge.checkpoint google/gemma-3-4b-it",
        "theworld.cli.handlers:judge",
        "theworld.config.evaluation:SpatialRGPTJudgeSettings",
        goes_on=_SAME,
    ),
    Command(
        MEASURE,
        "report",
        "Write the report of a run's folder: one page with verdicts, tables and plots, and the same as Markdown.",
        "theworld report runs/eval",
        "theworld.cli.handlers:report",
        "theworld.config.commands:ReportSettings",
    ),
    Command(
        DATA,
        "foresight",
        "Draw scenes of the simulated physical world with their questions and answers.",
        "theworld foresight --preview foresight.png --task drop",
        "theworld.cli.handlers:foresight",
        "theworld.config.commands:ForesightSettings",
    ),
    Command(
        DATA,
        "openimages",
        "Fetch pictures of OpenImages by their ids: with retries, only what is not there yet, whole files only.",
        "theworld openimages --ids ids.txt --out pictures",
        "theworld.datasets.public.openimages:download",
        "theworld.config.data:OpenImagesSettings",
        reads_file=True,
        goes_on=_SAME,
    ),
)

MOVED: Final = {
    "tiny": "in a checkout of the repository, run `python -m recipes build|verify|pack`",
}
"""Former commands, and the remedy."""
