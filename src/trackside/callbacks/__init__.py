"""The callbacks that come with Trackside, one file each, in folders by purpose.

`from trackside.callbacks import EarlyStopping` imports the file of that callback and no other.

Written by `make index` from the files in these folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.callbacks.augmentation.cut_mix import CutMix as CutMix
    from trackside.callbacks.augmentation.mix_up import MixUp as MixUp
    from trackside.callbacks.averaging.ema import EMA as EMA
    from trackside.callbacks.averaging.swa import SWA as SWA
    from trackside.callbacks.devices.move_modules import MoveModules as MoveModules
    from trackside.callbacks.devices.sync_batch_norm import SyncBatchNorm as SyncBatchNorm
    from trackside.callbacks.evaluation.best_metric import BestMetric as BestMetric
    from trackside.callbacks.evaluation.confusion_matrix import ConfusionMatrix as ConfusionMatrix
    from trackside.callbacks.evaluation.evaluate import Evaluate as Evaluate
    from trackside.callbacks.evaluation.offline_loss import OfflineLoss as OfflineLoss
    from trackside.callbacks.evaluation.sanity_check import SanityCheck as SanityCheck
    from trackside.callbacks.evaluation.save_predictions import SavePredictions as SavePredictions
    from trackside.callbacks.evaluation.track_outputs import TrackOutputs as TrackOutputs
    from trackside.callbacks.gradients.clip_gradients import ClipGradients as ClipGradients
    from trackside.callbacks.gradients.gradient_noise import GradientNoise as GradientNoise
    from trackside.callbacks.gradients.gradient_norm import GradientNorm as GradientNorm
    from trackside.callbacks.gradients.histograms import Histograms as Histograms
    from trackside.callbacks.gradients.parameter_norm import ParameterNorm as ParameterNorm
    from trackside.callbacks.performance.benchmark import Benchmark as Benchmark
    from trackside.callbacks.performance.graph_breaks import GraphBreaks as GraphBreaks
    from trackside.callbacks.performance.model_flops import ModelFlops as ModelFlops
    from trackside.callbacks.performance.profiler import Profiler as Profiler
    from trackside.callbacks.performance.tune_fsdp import TuneFSDP as TuneFSDP
    from trackside.callbacks.pictures.attention_maps import AttentionMaps as AttentionMaps
    from trackside.callbacks.pictures.feature_maps import FeatureMaps as FeatureMaps
    from trackside.callbacks.pictures.generate import Generate as Generate
    from trackside.callbacks.pictures.plot_history import PlotHistory as PlotHistory
    from trackside.callbacks.pictures.prediction_images import PredictionImages as PredictionImages
    from trackside.callbacks.pictures.sample_images import SampleImages as SampleImages
    from trackside.callbacks.reporting.config_logger import ConfigLogger as ConfigLogger
    from trackside.callbacks.reporting.csv_logger import CSVLogger as CSVLogger
    from trackside.callbacks.reporting.dataset_stats import DatasetStats as DatasetStats
    from trackside.callbacks.reporting.dvclive import DVCLive as DVCLive
    from trackside.callbacks.reporting.epoch_table import EpochTable as EpochTable
    from trackside.callbacks.reporting.json_lines_logger import JSONLinesLogger as JSONLinesLogger
    from trackside.callbacks.reporting.learning_rate import LearningRate as LearningRate
    from trackside.callbacks.reporting.mlflow import MLflow as MLflow
    from trackside.callbacks.reporting.model_summary import ModelSummary as ModelSummary
    from trackside.callbacks.reporting.notify import Notify as Notify
    from trackside.callbacks.reporting.online_loss import OnlineLoss as OnlineLoss
    from trackside.callbacks.reporting.parameter_count import ParameterCount as ParameterCount
    from trackside.callbacks.reporting.print_metrics import PrintMetrics as PrintMetrics
    from trackside.callbacks.reporting.progress_bar import ProgressBar as ProgressBar
    from trackside.callbacks.reporting.provenance import Provenance as Provenance
    from trackside.callbacks.reporting.ray_tune import RayTune as RayTune
    from trackside.callbacks.reporting.receipt import Receipt as Receipt
    from trackside.callbacks.reporting.report import Report as Report
    from trackside.callbacks.reporting.tensorboard import TensorBoard as TensorBoard
    from trackside.callbacks.reporting.trackio import Trackio as Trackio
    from trackside.callbacks.reporting.trainer_summary import TrainerSummary as TrainerSummary
    from trackside.callbacks.reporting.wandb import WandB as WandB
    from trackside.callbacks.saving.artifacts import Artifacts as Artifacts
    from trackside.callbacks.saving.auto_save import AutoSave as AutoSave
    from trackside.callbacks.saving.best_checkpoint import BestCheckpoint as BestCheckpoint
    from trackside.callbacks.saving.checkpoint import Checkpoint as Checkpoint
    from trackside.callbacks.saving.export_model import ExportModel as ExportModel
    from trackside.callbacks.saving.load_weights import LoadWeights as LoadWeights
    from trackside.callbacks.saving.requeue import Requeue as Requeue
    from trackside.callbacks.saving.save_weights import SaveWeights as SaveWeights
    from trackside.callbacks.saving.stable_decay_checkpoints import (
        StableDecayCheckpoints as StableDecayCheckpoints,
    )
    from trackside.callbacks.saving.transfer_weights import TransferWeights as TransferWeights
    from trackside.callbacks.saving.upload import Upload as Upload
    from trackside.callbacks.scheduling.accumulation_schedule import (
        AccumulationSchedule as AccumulationSchedule,
    )
    from trackside.callbacks.scheduling.batch_limit import BatchLimit as BatchLimit
    from trackside.callbacks.scheduling.batch_size_finder import BatchSizeFinder as BatchSizeFinder
    from trackside.callbacks.scheduling.lr_finder import LRFinder as LRFinder
    from trackside.callbacks.scheduling.lr_scheduler import LRScheduler as LRScheduler
    from trackside.callbacks.scheduling.parameter_schedule import (
        ParameterSchedule as ParameterSchedule,
    )
    from trackside.callbacks.scheduling.unfreeze import Unfreeze as Unfreeze
    from trackside.callbacks.stopping.early_stopping import EarlyStopping as EarlyStopping
    from trackside.callbacks.stopping.loss_spikes import LossSpikes as LossSpikes
    from trackside.callbacks.stopping.metric_plateau import MetricPlateau as MetricPlateau
    from trackside.callbacks.stopping.optuna_pruning import OptunaPruning as OptunaPruning
    from trackside.callbacks.stopping.overfit_guard import OverfitGuard as OverfitGuard
    from trackside.callbacks.stopping.stop_at import StopAt as StopAt
    from trackside.callbacks.stopping.terminate_on_non_finite import (
        TerminateOnNonFinite as TerminateOnNonFinite,
    )
    from trackside.callbacks.watching.activation_statistics import (
        ActivationStatistics as ActivationStatistics,
    )
    from trackside.callbacks.watching.batch_shapes import BatchShapes as BatchShapes
    from trackside.callbacks.watching.crash_capsule import CrashCapsule as CrashCapsule
    from trackside.callbacks.watching.device_stats import DeviceStats as DeviceStats
    from trackside.callbacks.watching.energy import Energy as Energy
    from trackside.callbacks.watching.garbage_collection import (
        GarbageCollection as GarbageCollection,
    )
    from trackside.callbacks.watching.out_of_memory import OutOfMemory as OutOfMemory
    from trackside.callbacks.watching.peak_memory import PeakMemory as PeakMemory
    from trackside.callbacks.watching.slow_rank import SlowRank as SlowRank
    from trackside.callbacks.watching.step_audit import StepAudit as StepAudit
    from trackside.callbacks.watching.throughput import Throughput as Throughput
    from trackside.callbacks.watching.timer import Timer as Timer
    from trackside.callbacks.watching.train_time import TrainTime as TrainTime
    from trackside.callbacks.watching.watchdog import Watchdog as Watchdog
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "augmentation.cut_mix": ("CutMix",),
            "augmentation.mix_up": ("MixUp",),
            "averaging.ema": ("EMA",),
            "averaging.swa": ("SWA",),
            "devices.move_modules": ("MoveModules",),
            "devices.sync_batch_norm": ("SyncBatchNorm",),
            "evaluation.best_metric": ("BestMetric",),
            "evaluation.confusion_matrix": ("ConfusionMatrix",),
            "evaluation.evaluate": ("Evaluate",),
            "evaluation.offline_loss": ("OfflineLoss",),
            "evaluation.sanity_check": ("SanityCheck",),
            "evaluation.save_predictions": ("SavePredictions",),
            "evaluation.track_outputs": ("TrackOutputs",),
            "gradients.clip_gradients": ("ClipGradients",),
            "gradients.gradient_noise": ("GradientNoise",),
            "gradients.gradient_norm": ("GradientNorm",),
            "gradients.histograms": ("Histograms",),
            "gradients.parameter_norm": ("ParameterNorm",),
            "performance.benchmark": ("Benchmark",),
            "performance.graph_breaks": ("GraphBreaks",),
            "performance.model_flops": ("ModelFlops",),
            "performance.profiler": ("Profiler",),
            "performance.tune_fsdp": ("TuneFSDP",),
            "pictures.attention_maps": ("AttentionMaps",),
            "pictures.feature_maps": ("FeatureMaps",),
            "pictures.generate": ("Generate",),
            "pictures.plot_history": ("PlotHistory",),
            "pictures.prediction_images": ("PredictionImages",),
            "pictures.sample_images": ("SampleImages",),
            "reporting.config_logger": ("ConfigLogger",),
            "reporting.csv_logger": ("CSVLogger",),
            "reporting.dataset_stats": ("DatasetStats",),
            "reporting.dvclive": ("DVCLive",),
            "reporting.epoch_table": ("EpochTable",),
            "reporting.json_lines_logger": ("JSONLinesLogger",),
            "reporting.learning_rate": ("LearningRate",),
            "reporting.mlflow": ("MLflow",),
            "reporting.model_summary": ("ModelSummary",),
            "reporting.notify": ("Notify",),
            "reporting.online_loss": ("OnlineLoss",),
            "reporting.parameter_count": ("ParameterCount",),
            "reporting.print_metrics": ("PrintMetrics",),
            "reporting.progress_bar": ("ProgressBar",),
            "reporting.provenance": ("Provenance",),
            "reporting.ray_tune": ("RayTune",),
            "reporting.receipt": ("Receipt",),
            "reporting.report": ("Report",),
            "reporting.tensorboard": ("TensorBoard",),
            "reporting.trackio": ("Trackio",),
            "reporting.trainer_summary": ("TrainerSummary",),
            "reporting.wandb": ("WandB",),
            "saving.artifacts": ("Artifacts",),
            "saving.auto_save": ("AutoSave",),
            "saving.best_checkpoint": ("BestCheckpoint",),
            "saving.checkpoint": ("Checkpoint",),
            "saving.export_model": ("ExportModel",),
            "saving.load_weights": ("LoadWeights",),
            "saving.requeue": ("Requeue",),
            "saving.save_weights": ("SaveWeights",),
            "saving.stable_decay_checkpoints": ("StableDecayCheckpoints",),
            "saving.transfer_weights": ("TransferWeights",),
            "saving.upload": ("Upload",),
            "scheduling.accumulation_schedule": ("AccumulationSchedule",),
            "scheduling.batch_limit": ("BatchLimit",),
            "scheduling.batch_size_finder": ("BatchSizeFinder",),
            "scheduling.lr_finder": ("LRFinder",),
            "scheduling.lr_scheduler": ("LRScheduler",),
            "scheduling.parameter_schedule": ("ParameterSchedule",),
            "scheduling.unfreeze": ("Unfreeze",),
            "stopping.early_stopping": ("EarlyStopping",),
            "stopping.loss_spikes": ("LossSpikes",),
            "stopping.metric_plateau": ("MetricPlateau",),
            "stopping.optuna_pruning": ("OptunaPruning",),
            "stopping.overfit_guard": ("OverfitGuard",),
            "stopping.stop_at": ("StopAt",),
            "stopping.terminate_on_non_finite": ("TerminateOnNonFinite",),
            "watching.activation_statistics": ("ActivationStatistics",),
            "watching.batch_shapes": ("BatchShapes",),
            "watching.crash_capsule": ("CrashCapsule",),
            "watching.device_stats": ("DeviceStats",),
            "watching.energy": ("Energy",),
            "watching.garbage_collection": ("GarbageCollection",),
            "watching.out_of_memory": ("OutOfMemory",),
            "watching.peak_memory": ("PeakMemory",),
            "watching.slow_rank": ("SlowRank",),
            "watching.step_audit": ("StepAudit",),
            "watching.throughput": ("Throughput",),
            "watching.timer": ("Timer",),
            "watching.train_time": ("TrainTime",),
            "watching.watchdog": ("Watchdog",),
        },
    )

__all__ = [
    "EMA",
    "SWA",
    "AccumulationSchedule",
    "ActivationStatistics",
    "Artifacts",
    "AttentionMaps",
    "AutoSave",
    "BatchLimit",
    "BatchShapes",
    "BatchSizeFinder",
    "Benchmark",
    "BestCheckpoint",
    "BestMetric",
    "CSVLogger",
    "Checkpoint",
    "ClipGradients",
    "ConfigLogger",
    "ConfusionMatrix",
    "CrashCapsule",
    "CutMix",
    "DVCLive",
    "DatasetStats",
    "DeviceStats",
    "EarlyStopping",
    "Energy",
    "EpochTable",
    "Evaluate",
    "ExportModel",
    "FeatureMaps",
    "GarbageCollection",
    "Generate",
    "GradientNoise",
    "GradientNorm",
    "GraphBreaks",
    "Histograms",
    "JSONLinesLogger",
    "LRFinder",
    "LRScheduler",
    "LearningRate",
    "LoadWeights",
    "LossSpikes",
    "MLflow",
    "MetricPlateau",
    "MixUp",
    "ModelFlops",
    "ModelSummary",
    "MoveModules",
    "Notify",
    "OfflineLoss",
    "OnlineLoss",
    "OptunaPruning",
    "OutOfMemory",
    "OverfitGuard",
    "ParameterCount",
    "ParameterNorm",
    "ParameterSchedule",
    "PeakMemory",
    "PlotHistory",
    "PredictionImages",
    "PrintMetrics",
    "Profiler",
    "ProgressBar",
    "Provenance",
    "RayTune",
    "Receipt",
    "Report",
    "Requeue",
    "SampleImages",
    "SanityCheck",
    "SavePredictions",
    "SaveWeights",
    "SlowRank",
    "StableDecayCheckpoints",
    "StepAudit",
    "StopAt",
    "SyncBatchNorm",
    "TensorBoard",
    "TerminateOnNonFinite",
    "Throughput",
    "Timer",
    "TrackOutputs",
    "Trackio",
    "TrainTime",
    "TrainerSummary",
    "TransferWeights",
    "TuneFSDP",
    "Unfreeze",
    "Upload",
    "WandB",
    "Watchdog",
]
