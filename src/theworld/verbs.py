"""The table of verbs: each with its line of help, what it calls, and its settings."""

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """One verb of the command line.

    `target` is called with the settings and returns what it found as a JSON-like dict, or None. Both it and its
    settings are named, not imported: the table costs nothing until a verb runs.
    """

    name: str
    """One word; or two, of which the first is shared: `score blink`."""
    summary: str
    """One line of help."""
    target: str
    """module:function."""
    settings: str
    """module:class, a dataclass with a docstring under each field."""
    reads_file: bool = False
    """Whether a settings file may stand before the flags; otherwise required settings are given by position."""


VERBS: Final = (
    Verb(
        "demo",
        "Simulate, train, evaluate and report at tiny size, on a laptop and without a network.",
        "theworld.report.demo:run_demo",
        "theworld.config:DemoSettings",
    ),
    Verb(
        "ask",
        "Ask a question about a picture; the answers with and without the world.",
        "theworld.cli:ask",
        "theworld.config:AskSettings",
    ),
    Verb(
        "serve",
        "Answer OpenAI's clients over HTTP: several pictures, streaming, requests in batches.",
        "theworld.cli:serve",
        "theworld.config.serving:ServeSettings",
    ),
    Verb(
        "train",
        "Train a model as a settings file says; any setting can be overridden by its flag.",
        "theworld.training.run:train",
        "theworld.config:TrainingConfig",
        reads_file=True,
    ),
    Verb(
        "data preview",
        "Look at what a training run would learn from: a page of samples, their lengths, and records that give none.",
        "theworld.report.preview:preview",
        "theworld.config.preview:PreviewConfig",
        reads_file=True,
    ),
    Verb(
        "slurm",
        "Submit a training run to Slurm: resumed, told before its time is up, and queued again.",
        "theworld.cli:slurm",
        "theworld.config.slurm:SlurmSettings",
    ),
    Verb(
        "plan",
        "Say what a training run will need on each device, memory by part and moment, before anything loads.",
        "theworld.cli:plan",
        "theworld.config.planning:PlanSettings",
        reads_file=True,
    ),
    Verb(
        "doctor",
        "Look for what would stop a run: libraries, token, licences, memory, disk, folders; exit code 1 on a fault.",
        "theworld.cli:doctor",
        "theworld.config.planning:DoctorSettings",
        reads_file=True,
    ),
    Verb(
        "evaluate",
        "Let a model answer a data set, arm by arm, and score the answers.",
        "theworld.evaluation.run:evaluate",
        "theworld.config:EvaluationConfig",
        reads_file=True,
    ),
    Verb(
        "audit",
        "Judge whether a trained model uses its world: the same questions with other world features.",
        "theworld.evaluation.auditing:audit",
        "theworld.config:AuditSettings",
    ),
    Verb(
        "arms",
        "Compare ways to read the world at equal budget, by outcome labels: run what is missing, draw the table.",
        "theworld.report.arms:compare_arms",
        "theworld.config.arms:ArmsSettings",
        reads_file=True,
    ),
    Verb(
        "probe",
        "Say what is linearly readable from each tap, block, noise level and slot.",
        "theworld.report.probes:run_probes",
        "theworld.config.probe:ProbeSettings",
        reads_file=True,
    ),
    Verb(
        "compare",
        "Hold files of predictions against each other: intervals, paired tests, identical files called out.",
        "theworld.cli:compare",
        "theworld.config.verbs:CompareArguments",
    ),
    Verb(
        "score spatial-rgpt",
        "Score saved replies to SpatialRGPT-Bench without a model or a judge.",
        "theworld.cli:score",
        "theworld.config.benchmarks:SpatialRGPTScoring",
    ),
    Verb(
        "score blink",
        "Score saved replies to BLINK, in the formats of its repository.",
        "theworld.cli:score",
        "theworld.config.benchmarks:BlinkScoring",
        reads_file=True,
    ),
    Verb(
        "score vsr",
        "Score saved replies to Visual Spatial Reasoning.",
        "theworld.cli:score",
        "theworld.config.benchmarks:VsrScoring",
        reads_file=True,
    ),
    Verb(
        "judge spatial-rgpt",
        "Have saved replies to SpatialRGPT-Bench judged by a language model, here or at an endpoint.",
        "theworld.cli:judge",
        "theworld.config.judge:SpatialRGPTJudging",
    ),
    Verb(
        "report",
        "Write the report of a run's folder: one page with verdicts, tables and plots, and the same as Markdown.",
        "theworld.cli:report",
        "theworld.config.verbs:ReportArguments",
    ),
    Verb(
        "cache fill",
        "Compute the world features that a training run would read, or one share of them, into its feature store.",
        "theworld.training.filling:fill",
        "theworld.config.filling:FillConfig",
        reads_file=True,
    ),
    Verb(
        "cache verify",
        "Say what a feature store holds, and check every feature in it.",
        "theworld.cli:verify_cache",
        "theworld.config.verbs:CacheArguments",
    ),
    Verb(
        "openimages",
        "Fetch pictures of OpenImages by their ids: with retries, only what is not there yet, whole files only.",
        "theworld.datasets.public.openimages:download",
        "theworld.config.openimages:OpenImagesSettings",
        reads_file=True,
    ),
    Verb(
        "foresight",
        "Draw scenes of the simulated physical world with their questions and answers.",
        "theworld.cli:foresight",
        "theworld.config.verbs:ForesightArguments",
    ),
    Verb(
        "tiny",
        "Train the embedded default model stage by stage (build), measure it (verify), or ship it (pack).",
        "theworld.recipes.building:run",
        "theworld.config.tiny:TinySettings",
    ),
)
