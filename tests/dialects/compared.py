"""The callbacks that other frameworks ship, and how each is compared here with its own trainer.

python -m tests.dialects.compared      writes the table into docs/coming-from/originals.md

Tests marked `peers` run the cases, and see that no callback of a package is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from" / "originals.md"
BEGINNING, ENDING = "<!-- compared -->\n\n", "\n<!-- results -->"
HEAD = "| of | callback | here | the difference that is meant |\n|---|---|---|---|\n"


class Case(NamedTuple):
    """One callback that a package ships."""

    options: Mapping[str, Any] = {}
    """With which it is made."""
    differs: str = ""
    """What is meant to be different, in words; empty: nothing."""
    refused: str = ""
    """A word of the error with which it is refused, the native way; empty: it runs."""
    needs: str = ""
    """What it needs and this test doesn't have; it isn't run."""

    @property
    def verdict(self) -> str:
        """How it fares here, in a word or two."""
        if self.needs:
            return "not run"
        return "refused" if self.refused else "the same"


ACCELERATED = {
    "LogMetricsCallback": Case(),
    "PrintProgressCallback": Case(),
    "ProgressBarCallback": Case(),
    "MoveModulesToDeviceCallback": Case(),
    "ConvertSyncBatchNormCallback": Case(),
    "TerminateOnNaNCallback": Case(),
    "SaveBestModelCallback": Case({"save_path": "best.pt"}, "files are safetensors"),
    "SaveTrainingStateCallback": Case(
        {"save_dir": "states", "save_every_n_epochs": 1, "save_every_n_steps": 2},
        "files are safetensors, without random states: `Checkpoint` goes on exactly",
    ),
    "EarlyStoppingCallback": Case(
        {"early_stopping_patience": 1, "early_stopping_threshold": 100.0},
        "the callbacks after it still get the event in which it stops",
    ),
    "WSDCheckpointCallback": Case({"save_dir": "decays"}, "files are safetensors"),
    "ModelEmaCallback": Case(
        {"evaluate_during_training": False},
        "with `evaluate_during_training` it is refused: `trackside.callbacks.EMA`",
    ),
    "LimitBatchesCallback": Case(
        {"num_batches": 1}, "it replaces loaders: `BatchLimit`", r"callbacks\.BatchLimit"
    ),
    "LimitEvalStepsCallback": Case(
        {"num_eval_steps": 1, "limit_intermediate_only": False},
        "it replaces loaders: `BatchLimit`",
        r"callbacks\.BatchLimit",
    ),
    "StepBasedEvaluationCallback": Case(
        {"eval_every_n_steps": 1},
        'it runs their loop: `Evaluate("val", every="100 steps")`',
        r"callbacks\.Evaluate",
    ),
}
EACH_EPOCH = {"every_n_epochs": 1}
ONLINE, OFFLINE = "loss/online/total/E1", "noether.training.callbacks.OfflineLossCallback"
NOETHER = {
    "DatasetStatsCallback": Case({}, "a summary is part of the history"),
    "ParamCountCallback": Case({}, "a summary is part of the history"),
    "ProgressCallback": Case(EACH_EPOCH),
    "EtaCallback": Case(EACH_EPOCH),
    "TrainTimeCallback": Case(
        EACH_EPOCH, "times are those of the host, without those of reading and collating items"
    ),
    "PeakMemoryCallback": Case(EACH_EPOCH, "on a CPU it does nothing, as there"),
    "OnlineLossCallback": Case(EACH_EPOCH),
    "LrCallback": Case(
        EACH_EPOCH, "a group of parameters without a name has none in the key; there `default`"
    ),
    "CheckpointCallback": Case(EACH_EPOCH, "files are safetensors"),
    "BestCheckpointCallback": Case({**EACH_EPOCH, "metric_key": ONLINE}, "files are safetensors"),
    "EmaCallback": Case({**EACH_EPOCH, "target_factors": [0.9]}, "files are safetensors"),
    "FixedEarlyStopper": Case({"stop_at_update": 4}, "files are safetensors"),
    "MetricEarlyStopper": Case({**EACH_EPOCH, "metric_key": ONLINE, "tolerance": 1}),
    "BestMetricCallback": Case(
        {**EACH_EPOCH, "source_metric_key": ONLINE, "target_metric_keys": [ONLINE]}
    ),
    "TrackAdditionalOutputsCallback": Case({**EACH_EPOCH, "keys": ["prediction"]}),
    "OfflineLossCallback": Case({**EACH_EPOCH, "dataset_key": "val"}),
    "PyTorchProfilerCallback": Case({"every_n_updates": 1, "profile_cuda": False}),
}
SEVERAL = {
    "EmaCallback": {
        **EACH_EPOCH,
        "target_factors": [0.9],
        "eval_callbacks": [{"kind": OFFLINE, **EACH_EPOCH, "dataset_key": "val"}],
    },
}
"""Further options that are compared, too."""
EACH_OF_THEIRS = {"root_dir": "checkpoints", "checkpoint_every_n_train_epochs": 1}
THEIR_STATE = "it saves the state of their trainer: `Checkpoint`"
DREAM = {
    "ProgressBar": Case(),
    "LoggerCallback": Case({"log_every_n_train_batches": 1}),
    "LRLoggerCallback": Case({"log_frequency": 1}),
    "MetricLoggerCallback": Case(),
    "GarbageCollectionCallback": Case(),
    "TrainerSummary": Case(),
    "EMACallback": Case({"model_names": ["model"]}),
    "MediaLoggerCallback": Case(),
    "OptimizeFSDP": Case(),
    "WeightTransferCallback": Case({"source": "model", "target": "model", "delete_source": False}),
    "ModelWatchCallback": Case({}, needs="a run of Weights & Biases"),
    "ProfileCallback": Case(
        {"profiler": None}, "it replaces their training step: `Profiler`", "Profiler"
    ),
    "BenchmarkCallback": Case({}, "it replaces their backward pass: `Benchmark`", "Benchmark"),
    "FindGraphBreaksCallback": Case({}, "it compiles their models: `GraphBreaks`", "GraphBreaks"),
    "CheckpointCallback": Case({"config": EACH_OF_THEIRS}, THEIR_STATE, "Checkpoint"),
    "AsyncCheckpointCallback": Case(
        {"config": {**EACH_OF_THEIRS, "async_mode": "async"}}, THEIR_STATE, "Checkpoint"
    ),
    "LoadPartialCheckpointCallback": Case(
        {}, needs="checkpoints of theirs, which are not read here: `TransferWeights`"
    ),
    "ExportCallback": Case({}, needs="the module `registry`, which no package provides"),
    "ModelSummary": Case({}, needs="torchinfo; it ends the program after its table"),
    "FaultToleranceCallback": Case({}, needs="torchft"),
    "Fp8Quantization": Case({}, needs="torchao and an accelerator with fp8"),
}
ALL = {
    "pytorch-accelerated": ACCELERATED,
    "emmiai-noether": NOETHER,
    "dream-trainer": DREAM,
}
"""Cases by the name of their class, for each package."""


def rows() -> str:
    """The lines of the page's table."""
    return "".join(
        f"| {package} | `{name}` | {case.verdict} | {case.needs or case.differs} |\n"
        for package, cases in ALL.items()
        for name, case in cases.items()
    )


def with_rows(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGINNING)
    _, _, after = rest.partition(ENDING)
    return f"{before}{BEGINNING}{HEAD}{rows()}{ENDING}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_rows(PAGE.read_text()))
