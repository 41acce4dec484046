"""Table of commands: for each its line of help, an example, its function and its settings."""

from typing import Final, NamedTuple

START, TRAIN, MEASURE, DATA = "first steps", "training", "evaluation", "data"
"""Groups of commands, in the order of the overview."""


class Command(NamedTuple):
    """A command of the command line.

    `target` takes the settings and returns a JSON-like dict, or a `Result`, which adds Markdown for a reader. The table
    names it and its settings and imports neither, so that the help is fast.
    """

    group: str
    """Heading in the overview."""
    name: str
    """One word, or two if several commands share the first: `score blink`."""
    summary: str
    """One line of help."""
    example: str
    """A complete command line."""
    target: str
    """module:function."""
    settings: str
    """module:class, a dataclass with a docstring under each field."""
    reads_file: bool = False
    """Whether it takes a settings file before the flags; if not, required settings are positional arguments."""
    takes_run: bool = False
    """Whether its first word may be the folder of a run or model instead of a settings file."""
    infer: str = ""
    """module:function that adds settings which follow from the given ones; empty: none."""
    resume_hint: str = ""
    """Way to continue after an interruption; empty: it starts from the beginning."""
    launcher: str = "theworld"
    """Program that runs it."""

    @property
    def program(self) -> str:
        """Words that run it: `theworld train`."""
        return f"{self.launcher} {self.name}".strip()


_SAME = "the same command continues where it stopped"

_OWN = "theworld.config.inferred:for_training"

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
        "Answer a question about a picture, with and without the world.",
        'theworld ask tiny-foresight picture.png "In which bin does the ball come to rest?"',
        "theworld.cli.asking:ask",
        "theworld.config:AskSettings",
    ),
    Command(
        START,
        "imagine",
        "Imagine the future of a clip, beside its true one and with the error of each slot.",
        "theworld imagine clip.mp4 --steps 4 --out future.mp4",
        "theworld.cli.handlers:imagine",
        "theworld.config.commands:ImagineSettings",
    ),
    Command(
        START,
        "serve",
        "Serve an OpenAI-compatible HTTP API: several pictures, streaming, batched requests.",
        "theworld serve tiny-foresight --port 8000",
        "theworld.cli.handlers:serve",
        "theworld.config.serving:ServeSettings",
    ),
    Command(
        START,
        "app",
        "Serve a web page: ask about a picture with and without the world, and see the imagined future.",
        "theworld app --model tiny-foresight --port 7860",
        "theworld.cli.handlers:app",
        "theworld.config.serving:AppSettings",
    ),
    Command(
        START,
        "completion",
        "Print a shell script that completes commands, flags and their values.",
        "theworld completion bash",
        "theworld.cli.completion:complete",
        "theworld.config.commands:CompletionSettings",
    ),
    Command(
        TRAIN,
        "config convert",
        "Convert a settings file of the original prototype, and check that the result loads.",
        "theworld config convert old.json new.yaml",
        "theworld.cli.handlers:convert_config",
        "theworld.config.commands:ConvertSettings",
    ),
    Command(
        TRAIN,
        "data preview",
        "Preview the data of a training run: a page of samples, their lengths, and records without a sample.",
        "theworld data preview configs/foresight-tiny.json --num-shown 12",
        "theworld.cli.handlers:preview",
        "theworld.config.commands:PreviewSettings",
        reads_file=True,
        infer=_OWN,
    ),
    Command(
        TRAIN,
        "plan",
        "Estimate the needs of a training run on each device, memory by part and moment, before anything loads.",
        "theworld plan configs/foresight-tiny.json --length 300",
        "theworld.cli.handlers:plan",
        "theworld.config.commands:PlanSettings",
        reads_file=True,
        infer=_OWN,
    ),
    Command(
        TRAIN,
        "doctor",
        "Check libraries, token, licences, memory, disk and folders before a run; exit code 1 on a fault.",
        "theworld doctor configs/foresight-tiny.json",
        "theworld.cli.handlers:doctor",
        "theworld.config.commands:DoctorSettings",
        reads_file=True,
        infer=_OWN,
    ),
    Command(
        TRAIN,
        "smoke",
        "Try a training run with two samples: train a step, save, reload, and get the same answer; push if asked to.",
        "theworld smoke configs/foresight-tiny.json",
        "theworld.training.smoke:smoke",
        "theworld.config.commands:SmokeSettings",
        reads_file=True,
    ),
    Command(
        TRAIN,
        "train",
        "Train a model from a settings file, or on your own pictures; flags override its settings.",
        "theworld train configs/foresight-tiny.json --num-steps 50",
        "theworld.training.run:train",
        "theworld.config:TrainingConfig",
        reads_file=True,
        infer=_OWN,
        resume_hint="`--resume True` continues from the newest checkpoint",
    ),
    Command(
        TRAIN,
        "slurm",
        "Submit a training run to Slurm: it saves before its time is up, queues again and resumes.",
        "theworld slurm configs/foresight-4b.yaml --gpu-type H100 --gpu-count 2 --time 4:00:00 --dry-run",
        "theworld.cli.handlers:slurm",
        "theworld.config.training:SlurmSettings",
    ),
    Command(
        TRAIN,
        "cache fill",
        "Compute the world features of a training run, or one share of them, into its feature store.",
        "theworld cache fill configs/foresight-tiny.json --num-shards 4 --shard-index 0",
        "theworld.training.feature_cache:fill",
        "theworld.config.commands:FillSettings",
        reads_file=True,
        infer=_OWN,
        resume_hint=_SAME,
    ),
    Command(
        TRAIN,
        "cache verify",
        "Describe a feature store, and check every feature in it.",
        "theworld cache verify runs/features/foresight-tiny",
        "theworld.cli.handlers:verify_cache",
        "theworld.config.commands:CacheSettings",
    ),
    Command(
        MEASURE,
        "evaluate",
        "Evaluate a model on the data that its run held out, or on other data, arm by arm.",
        "theworld evaluate runs/foresight-tiny --arms world no-world-tokens blind",
        "theworld.cli.handlers:evaluate",
        "theworld.config:EvaluationConfig",
        reads_file=True,
        takes_run=True,
        infer="theworld.config.inferred:for_evaluation",
        resume_hint=_SAME,
    ),
    Command(
        MEASURE,
        "audit",
        "Judge whether a trained model uses its world: the same questions with other world features.",
        "theworld audit tiny-foresight --answers loglikelihood --data.questions future --data.image-size-px 64",
        "theworld.cli.handlers:audit",
        "theworld.config:AuditSettings",
        infer="theworld.config.inferred:for_audit",
        resume_hint=_SAME,
    ),
    Command(
        MEASURE,
        "arms",
        "Compare taps at equal budget, by number of outcome labels: run missing arms, write the table.",
        "theworld arms configs/foresight/arms.yaml --seeds 0",
        "theworld.cli.handlers:arms",
        "theworld.config.arm_settings:ArmsSettings",
        reads_file=True,
        resume_hint=_SAME,
    ),
    Command(
        MEASURE,
        "probe",
        "Fit linear probes to each tap, block, noise level and slot.",
        "theworld probe --output-dir runs/probe --world.cosmos-model-name tiny --world.image-size-px 64",
        "theworld.cli.handlers:probe",
        "theworld.config.experiments:ProbeSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "surprise",
        "Measure the surprise of a world model, alone, about videos: its error on what followed the given frames.",
        "theworld surprise foresight --num-clips 20",
        "theworld.cli.handlers:surprise",
        "theworld.config.commands:SurpriseSettings",
        infer="theworld.config.inferred:for_surprise",
        resume_hint=_SAME,
    ),
    Command(
        MEASURE,
        "compare",
        "Compare files of predictions: confidence intervals, paired tests, a note on identical files.",
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
        "score vpct",
        "Score saved replies to VPCT.",
        "theworld score vpct --predictions replies.jsonl --source vpct",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:VpctScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score futurebench",
        "Score saved replies to FutureBench.",
        "theworld score futurebench --predictions replies.jsonl --source futurebench",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:FutureBenchScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score openworldqa",
        "Score saved replies to OpenWorldQA.",
        "theworld score openworldqa --predictions replies.jsonl --source openworldqa",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:OpenWorldQAScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score vrqabench",
        "Score saved replies to VRQABench.",
        "theworld score vrqabench --predictions replies.jsonl --source vrqabench",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:VRQABenchScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score sat",
        "Score saved replies to SAT's real test.",
        "theworld score sat --predictions replies.jsonl --source sat",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:SatScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score physbench",
        "Score saved replies to PhysBench.",
        "theworld score physbench --predictions replies.jsonl --source physbench",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:PhysBenchScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score mvp",
        "Score saved replies to MVP, by pairs of videos.",
        "theworld score mvp --predictions replies.jsonl --source mvp",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:MvpScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "score intphys2",
        "Score saved replies to IntPhys 2, by pairs of videos.",
        "theworld score intphys2 --predictions replies.jsonl --source intphys2",
        "theworld.cli.handlers:score",
        "theworld.config.reply_files:IntPhys2ScoreSettings",
        reads_file=True,
    ),
    Command(
        MEASURE,
        "judge spatial-rgpt",
        "Judge saved replies to SpatialRGPT-Bench with a language model, here or at an endpoint.",
        "theworld judge spatial-rgpt replies.jsonl --judge.checkpoint google/gemma-3-4b-it",
        "theworld.cli.handlers:judge",
        "theworld.config.evaluation:SpatialRGPTJudgeSettings",
        resume_hint=_SAME,
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
        "data example",
        "Print a valid file of your own data, with pictures beside it to replace by yours.",
        "theworld data example --own",
        "theworld.cli.handlers:example",
        "theworld.config.commands:ExampleSettings",
    ),
    Command(
        DATA,
        "openimages",
        "Download pictures of OpenImages by their ids: with retries, only missing ones, whole files only.",
        "theworld openimages --ids ids.txt --out pictures",
        "theworld.datasets.public.openimages:download",
        "theworld.config.commands:OpenImagesSettings",
        reads_file=True,
        resume_hint=_SAME,
    ),
)

MOVED: Final = {
    "tiny": "in a checkout of the repository, run `python -m recipes build|verify|pack`",
}
"""Former commands, and their replacements."""
