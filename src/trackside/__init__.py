"""Trackside trains PyTorch models; everything around the loop is a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.by_hand.attached import AttachedRun as AttachedRun
    from trackside.by_hand.attached import attach as attach
    from trackside.checkpoint.commit import Saved as Saved
    from trackside.config.experiment.trained import load as load
    from trackside.data.recognition import RankData as RankData
    from trackside.distributed.ddp import DDP as DDP
    from trackside.distributed.failure import PeerFailed as PeerFailed
    from trackside.distributed.fsdp import FSDP as FSDP
    from trackside.distributed.world import World as World
    from trackside.errors import CheckpointError as CheckpointError
    from trackside.errors import ConfigurationError as ConfigurationError
    from trackside.errors import CorruptionError as CorruptionError
    from trackside.errors import DataError as DataError
    from trackside.errors import DeclarationError as DeclarationError
    from trackside.errors import DisagreementError as DisagreementError
    from trackside.errors import DuplicateCallbackError as DuplicateCallbackError
    from trackside.errors import HistoryError as HistoryError
    from trackside.errors import HookSignatureError as HookSignatureError
    from trackside.errors import LossError as LossError
    from trackside.errors import MissingRequirementError as MissingRequirementError
    from trackside.errors import MisspeltNameError as MisspeltNameError
    from trackside.errors import MonitorError as MonitorError
    from trackside.errors import NonFiniteError as NonFiniteError
    from trackside.errors import OptimizerError as OptimizerError
    from trackside.errors import OrderCycleError as OrderCycleError
    from trackside.errors import RegistrationError as RegistrationError
    from trackside.errors import ScheduleError as ScheduleError
    from trackside.errors import StopTraining as StopTraining
    from trackside.errors import TracksideError as TracksideError
    from trackside.errors import UnknownCallbackError as UnknownCallbackError
    from trackside.errors import UnknownDataError as UnknownDataError
    from trackside.errors import UnknownHookError as UnknownHookError
    from trackside.errors import UnknownModelError as UnknownModelError
    from trackside.errors import UnknownNameError as UnknownNameError
    from trackside.errors import UnknownOptimizerError as UnknownOptimizerError
    from trackside.errors import UsageError as UsageError
    from trackside.errors import WrongTimeError as WrongTimeError
    from trackside.history import Best as Best
    from trackside.history import History as History
    from trackside.history import PrefixedHistory as PrefixedHistory
    from trackside.history import Record as Record
    from trackside.lifecycle.collection import CallbackCollection as CallbackCollection
    from trackside.lifecycle.hooks import Callback as Callback
    from trackside.lifecycle.hooks import RankZeroCallback as RankZeroCallback
    from trackside.lifecycle.hooks import event as event
    from trackside.lifecycle.periodic import PeriodicCallback as PeriodicCallback
    from trackside.lifecycle.periodic import on as on
    from trackside.lifecycle.roles import HasPatience as HasPatience
    from trackside.lifecycle.roles import HasSchedulers as HasSchedulers
    from trackside.lifecycle.roles import HasWeights as HasWeights
    from trackside.lifecycle.roles import KeepsAverages as KeepsAverages
    from trackside.lifecycle.roles import KeepsBestWeights as KeepsBestWeights
    from trackside.lifecycle.roles import MakesReport as MakesReport
    from trackside.lifecycle.roles import SavesInBackground as SavesInBackground
    from trackside.outcome import Outcome as Outcome
    from trackside.outcome import Status as Status
    from trackside.progress import Progress as Progress
    from trackside.progress import RunLimit as RunLimit
    from trackside.progress import SkippedStep as SkippedStep
    from trackside.progress import TrainingBatch as TrainingBatch
    from trackside.proof.blame import Blame as Blame
    from trackside.proof.blame import blame as blame
    from trackside.proof.late_callbacks import Observed as Observed
    from trackside.proof.late_callbacks import observe as observe
    from trackside.proof.replay import Replay as Replay
    from trackside.proof.replay import replay as replay
    from trackside.proof.verification import Verification as Verification
    from trackside.proof.verification import verify as verify
    from trackside.requests import Request as Request
    from trackside.run import Evaluation as Evaluation
    from trackside.run import Rollback as Rollback
    from trackside.run import Run as Run
    from trackside.schedule import AnyOf as AnyOf
    from trackside.schedule import Every as Every
    from trackside.schedule import Schedule as Schedule
    from trackside.secret import Secret as Secret
    from trackside.step.accuracy import accuracy as accuracy
    from trackside.step.evaluation import EvaluationCallback as EvaluationCallback
    from trackside.step.optimization import Clip as Clip
    from trackside.step.optimization import Scheduler as Scheduler
    from trackside.step.output import Output as Output
    from trackside.tracking.media import Histogram as Histogram
    from trackside.tracking.media import Picture as Picture
    from trackside.tracking.tracker import TrackedRun as TrackedRun
    from trackside.tracking.tracker import Tracker as Tracker
    from trackside.trainer.batch_limits import limited_batches as limited_batches
    from trackside.trainer.program import Program as Program
    from trackside.trainer.program import program as program
    from trackside.trainer.rehearsal import RehearsalError as RehearsalError
    from trackside.trainer.settings import Result as Result
    from trackside.trainer.settings import Settings as Settings
    from trackside.trainer.trainer import Trainer as Trainer
    from trackside.vocabulary.directions import declare_direction as declare_direction
else:
    # The command line answers --help without importing torch.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "by_hand.attached": ("AttachedRun", "attach"),
            "checkpoint.commit": ("Saved",),
            "vocabulary.directions": ("declare_direction",),
            "config.experiment.trained": ("load",),
            "data.recognition": ("RankData",),
            "distributed.ddp": ("DDP",),
            "distributed.failure": ("PeerFailed",),
            "distributed.fsdp": ("FSDP",),
            "distributed.world": ("World",),
            "errors": (
                "CheckpointError",
                "ConfigurationError",
                "CorruptionError",
                "DataError",
                "DisagreementError",
                "DeclarationError",
                "DuplicateCallbackError",
                "HistoryError",
                "HookSignatureError",
                "LossError",
                "MissingRequirementError",
                "MisspeltNameError",
                "MonitorError",
                "NonFiniteError",
                "OptimizerError",
                "OrderCycleError",
                "RegistrationError",
                "ScheduleError",
                "StopTraining",
                "TracksideError",
                "UnknownCallbackError",
                "UnknownDataError",
                "UnknownHookError",
                "UnknownModelError",
                "UnknownNameError",
                "UnknownOptimizerError",
                "UsageError",
                "WrongTimeError",
            ),
            "history": (
                "Best",
                "History",
                "PrefixedHistory",
                "Record",
            ),
            "lifecycle.collection": ("CallbackCollection",),
            "lifecycle.hooks": (
                "Callback",
                "RankZeroCallback",
                "event",
            ),
            "lifecycle.periodic": (
                "PeriodicCallback",
                "on",
            ),
            "lifecycle.roles": (
                "HasPatience",
                "HasSchedulers",
                "HasWeights",
                "KeepsAverages",
                "KeepsBestWeights",
                "MakesReport",
                "SavesInBackground",
            ),
            "outcome": (
                "Outcome",
                "Status",
            ),
            "proof.blame": ("Blame", "blame"),
            "proof.late_callbacks": ("Observed", "observe"),
            "proof.replay": ("Replay", "replay"),
            "proof.verification": ("Verification", "verify"),
            "progress": (
                "Progress",
                "RunLimit",
                "SkippedStep",
                "TrainingBatch",
            ),
            "requests": ("Request",),
            "run": (
                "Evaluation",
                "Rollback",
                "Run",
            ),
            "schedule": (
                "AnyOf",
                "Every",
                "Schedule",
            ),
            "step.evaluation": ("EvaluationCallback",),
            "secret": ("Secret",),
            "step.accuracy": ("accuracy",),
            "step.optimization": (
                "Clip",
                "Scheduler",
            ),
            "step.output": ("Output",),
            "tracking.media": (
                "Histogram",
                "Picture",
            ),
            "tracking.tracker": (
                "TrackedRun",
                "Tracker",
            ),
            "trainer.batch_limits": ("limited_batches",),
            "trainer.program": ("Program", "program"),
            "trainer.rehearsal": ("RehearsalError",),
            "trainer.settings": (
                "Result",
                "Settings",
            ),
            "trainer.trainer": ("Trainer",),
        },
        former={"Limit": "RunLimit"},
    )

__version__ = "0.1.0"

__all__ = [
    "DDP",
    "FSDP",
    "AnyOf",
    "AttachedRun",
    "Best",
    "Blame",
    "Callback",
    "CallbackCollection",
    "CheckpointError",
    "Clip",
    "ConfigurationError",
    "CorruptionError",
    "DataError",
    "DeclarationError",
    "DisagreementError",
    "DuplicateCallbackError",
    "Evaluation",
    "EvaluationCallback",
    "Every",
    "HasPatience",
    "HasSchedulers",
    "HasWeights",
    "Histogram",
    "History",
    "HistoryError",
    "HookSignatureError",
    "KeepsAverages",
    "KeepsBestWeights",
    "LossError",
    "MakesReport",
    "MissingRequirementError",
    "MisspeltNameError",
    "MonitorError",
    "NonFiniteError",
    "Observed",
    "OptimizerError",
    "OrderCycleError",
    "Outcome",
    "Output",
    "PeerFailed",
    "PeriodicCallback",
    "Picture",
    "PrefixedHistory",
    "Program",
    "Progress",
    "RankData",
    "RankZeroCallback",
    "Record",
    "RegistrationError",
    "RehearsalError",
    "Replay",
    "Request",
    "Result",
    "Rollback",
    "Run",
    "RunLimit",
    "Saved",
    "SavesInBackground",
    "Schedule",
    "ScheduleError",
    "Scheduler",
    "Secret",
    "Settings",
    "SkippedStep",
    "Status",
    "StopTraining",
    "TrackedRun",
    "Tracker",
    "TracksideError",
    "Trainer",
    "TrainingBatch",
    "UnknownCallbackError",
    "UnknownDataError",
    "UnknownHookError",
    "UnknownModelError",
    "UnknownNameError",
    "UnknownOptimizerError",
    "UsageError",
    "Verification",
    "World",
    "WrongTimeError",
    "accuracy",
    "attach",
    "blame",
    "declare_direction",
    "event",
    "limited_batches",
    "load",
    "observe",
    "on",
    "program",
    "replay",
    "verify",
]
