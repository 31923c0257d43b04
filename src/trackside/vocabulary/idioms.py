"""Words of other trainers, and the ones that do the same here.

Tables of words: a keyword, a method, a hook or a callback that another trainer has is refused with
the native way. Whatever else a call doesn't know is refused with the nearest option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import PurePath
from typing import Any, TypeVar

from trackside.errors import ConfigurationError, UsageError, did_you_mean

T = TypeVar("T")

_EPOCHS = "`trainer.fit(train, epochs=10)`"
_STEPS = "`trainer.fit(train, steps=1000)`"
_DEVICE = "`settings=Settings(device='cuda')`; several devices: `torchrun`, one process for each"
_FOLDER = "`settings=Settings(directory='runs/mine')`"
_LOGGER = "a callback: `callbacks=[TensorBoard()]`, `[CSVLogger()]`, `[WandB()]` or `[MLflow()]`"
_BAR = "`callbacks={'progress': None}` leaves the bar out"
_CLIP = "`clip=1.0`, the largest norm of the gradients, or `clip=Clip(value=0.5)`"
_ACCUMULATE = "`accumulate=4`, batches per step"
_EVALUATE = "`trainer.fit(train, validation, evaluate_every='1 epoch')`, or '100 steps'"
_LIMIT = "the callback `BatchLimit(train=100, evaluation=10)`"
_REHEARSE = (
    "`trainer.fit(train, epochs=10, rehearse=True)` goes through the whole run on two batches"
)
_LR = "`optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)`"
_SCHEDULER = "`scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10)`"
_RESUME = "`trainer.fit(train, epochs=10, resume='auto')`, a step, or the path of a checkpoint"
_VALIDATION = "`trainer.fit(train, validation, epochs=10)`"
_TRAIN = "`trainer.fit(train, epochs=10)`: the training data comes first"
_PAIRS = "a data set of pairs: `trainer.fit(TensorDataset(x, y), epochs=10)`"
_LOADER = "make the loader yourself: `trainer.fit(DataLoader(...), epochs=10)`"
_WORKERS = "make the loader yourself: `DataLoader(data, num_workers=4)`"
_CALLBACKS = "`Trainer(model, callbacks=[...])`"
_DISTRIBUTED = "`settings=Settings(strategy='fsdp')`, 'ddp', or `FSDP(...)` with options"
_SAVING = "the callback `Checkpoint(every='1 epoch', keep_best=1, monitor='val/loss')`"
_PRECISION = "`precision='bf16'`, or 'fp16' with a loss scaler"
_BATCH_SIZE = "`trainer.fit(train, epochs=10, batch_size=32)`"
_PROFILER = "the callback `Profiler()`"
_MODEL = "the model belongs to the trainer: `Trainer(model, ...)`"
_WEIGHTS = "weights per sample are the step's: override `training_step`, return `Output(loss)`"
_LOSS = "`loss=nn.CrossEntropyLoss()`, a function of prediction and target"
_OWN_LOADERS = "give the data to `fit`: `trainer.fit(train, validation, epochs=10)`"


def _each(ways: dict[str, str]) -> dict[str, str]:
    """By word: the native way, from words by native way."""
    return {word: way for way, words in ways.items() for word in words.split()}


KEYWORDS: dict[str, dict[str, str]] = {
    "Trainer": _each(
        {
            _DEVICE: "accelerator device devices gpus num_nodes",
            _ACCUMULATE: "accumulate_grad_batches grad_accum gradient_accumulation_steps",
            "callbacks, and steps that a subclass overrides": "algorithms",
            _PRECISION: "amp mixed_precision",
            "the trainer's own options, and `settings=Settings(...)`": "args",
            _BATCH_SIZE: "batch_size",
            "`torch.backends.cudnn.benchmark = True`": "benchmark",
            _CALLBACKS: "callback cbs plugins",
            _EVALUATE: "check_val_every_n_epoch eval_interval val_check_interval",
            "`settings=Settings(compile=True)`": "compile",
            "`metrics={'accuracy': accuracy}`, functions of prediction and target": (
                "compute_metrics"
            ),
            _LOSS: "criterion loss_fn loss_func",
            _LOADER: "data_collator tokenizer",
            _FOLDER: "default_root_dir directory logging_dir output_dir run_name save_folder",
            "`torch.autograd.set_detect_anomaly(True)`": "detect_anomaly",
            "`settings=Settings(deterministic=True)`": "deterministic",
            _OWN_LOADERS: (
                "dls eval_dataloader eval_dataset train_dataloader train_dataset train_loader"
            ),
            "`callbacks={'checkpoint': None}` leaves checkpoints out": "enable_checkpointing",
            "`callbacks={'summary': None}` leaves the summary out": (
                "enable_model_summary weights_summary"
            ),
            _BAR: "enable_progress_bar",
            _EPOCHS: "epochs max_epochs min_epochs num_epochs num_train_epochs",
            _REHEARSE: "fast_dev_run",
            "`precision='fp16'`": "fp16",
            "`precision='bf16'`": "bf16",
            _CLIP: "gradient_clip_algorithm gradient_clip_val max_grad_norm",
            "nothing is needed: evaluations and predictions take no gradients": "inference_mode",
            _LR: "learning_rate lr opt_func wd weight_decay",
            _LIMIT: "limit_test_batches limit_train_batches limit_val_batches overfit_batches",
            "`settings=Settings(log_every='50 steps')`": "log_every_n_steps",
            _LOGGER: "logger loggers",
            _SCHEDULER: "lr_scheduler lr_schedulers schedulers",
            f"{_EPOCHS}, or {_STEPS}": "max_duration",
            _STEPS: "max_steps",
            "the callback `StopAt(seconds=3600)`": "max_time",
            "a function that makes the model stands in its place: `Trainer(make_model)`": (
                "model_init"
            ),
            "the callback `SanityCheck(batches=2)`": "num_sanity_val_steps",
            _WORKERS: "num_workers",
            "`optimizer=...`; several by name: override `configure_optimizers`": "optimizers",
            _PROFILER: "profiler",
            _RESUME: "resume_from_checkpoint",
            _SAVING: "save_interval",
            _DISTRIBUTED: "strategy",
            "the callback `SyncBatchNorm()`": "sync_batchnorm",
            "nothing is needed: each rank takes its part of every batch": "use_distributed_sampler",
        }
    ),
    "Trainer.fit": _each(
        {
            _CALLBACKS: "callbacks cbs",
            _RESUME: "checkpoint ckpt_path from_checkpoint initial_epoch resume_from_checkpoint",
            "`loss=nn.CrossEntropyLoss(weight=...)`": "class_weight",
            _OWN_LOADERS: "data_module datamodule",
            _TRAIN: (
                "dataloaders train_data train_dataloader train_dataloaders train_dataset "
                "train_loader training_data"
            ),
            f"{_EPOCHS}, or {_STEPS}": "duration",
            _VALIDATION: (
                "eval_dataloader eval_dataset val val_data val_dataloader val_dataloaders "
                "val_loader valid validation_data"
            ),
            _LR: "lr",
            _EPOCHS: "max_epochs n_epoch n_epochs num_epochs",
            _STEPS: "max_steps",
            _MODEL: "model",
            _WEIGHTS: "sample_weight",
            "a `Dataset` is shuffled; otherwise make a `DataLoader(data, shuffle=False)`": (
                "shuffle"
            ),
            _LIMIT: "steps_per_epoch validation_steps",
            "`trainer.evaluate(test)`": "test_dataloaders",
            _EVALUATE: "validation_freq",
            "`torch.utils.data.random_split(data, [0.8, 0.2])` before, then "
            + _VALIDATION: "validation_split",
            _BAR: "verbose",
            _WORKERS: "workers",
            _PAIRS: "x y",
        }
    ),
    "Trainer.evaluate": _each(
        {
            "the callback `LoadWeights(path)`": "ckpt_path",
            "`trainer.evaluate(test)`": "dataloaders eval_dataset",
            _MODEL: "model",
            _BAR: "verbose",
            "a data set of pairs: `trainer.evaluate(TensorDataset(x, y))`": "x y",
        }
    ),
    "Trainer.predict": _each(
        {
            "the callback `LoadWeights(path)`": "ckpt_path",
            "`trainer.predict(test)`": "dataloaders test_dataset",
            _MODEL: "model",
            "nothing is needed: predictions are returned": "return_predictions",
            _BAR: "verbose",
            "a data set: `trainer.predict(TensorDataset(x))`": "x",
        }
    ),
    "Settings": _each(
        {
            "`Settings(device='cuda')`": "accelerator",
            _DISTRIBUTED: "backend",
            "`Settings(directory='runs/mine')`": "checkpoint_dir logdir output_dir",
            "`Settings(device='cuda')`; several: `torchrun`, one process for each": "devices",
            "`Settings(log_every='50 steps')`": "log_every_n_steps",
            _WORKERS: "num_workers",
            "`Trainer(model, precision='bf16')`": "precision",
            "`Trainer(model, seed=0)`": "seed",
        }
    ),
}
"""By class or method: keywords that other trainers have."""

ATTRIBUTES: dict[str, dict[str, str]] = {
    "Trainer": {
        "compile": "`Trainer(model, loss=..., optimizer=..., metrics={...})`; torch.compile: "
        "`settings=Settings(compile=True)`",
        "fit_generator": _LOADER,
        "fit_one_cycle": "`scheduler=Scheduler(lambda o: OneCycleLR(o, 0.1, total_steps=n))`",
        "load_checkpoint": _RESUME,
        "load_weights": "the callback `LoadWeights(path)`",
        "save": "the callback `SaveWeights()`, or `Checkpoint()` for all that a resume needs",
        "save_checkpoint": _SAVING + "; within a run, `run.save()`",
        "save_model": "the callback `SaveWeights()`",
        "save_weights": "the callback `SaveWeights()`",
        "score": "`trainer.evaluate(test)`",
        "test": "`trainer.evaluate(test)`",
        "train": _EPOCHS,
        "tune": "the callback `LRFinder()`",
        "validate": "`trainer.evaluate(validation, name='val')`",
    },
}
"""By class: methods that other trainers have."""

HOOKS: dict[str, str] = {
    "on_after_backward": "on_backward_end",
    "on_batch_begin": "on_batch_start",
    "on_before_backward": "on_backward_start",
    "on_before_optimizer_step": "on_optimizer_step_start",
    "on_before_zero_grad": "on_zero_grad_start",
    "on_epoch_begin": "on_epoch_start",
    "on_evaluate": "on_evaluation_end",
    "on_init_end": "on_attach",
    "on_keyboard_interrupt": "on_stop",
    "on_load_checkpoint": "on_checkpoint_load",
    "on_predict_begin": "on_predict_start",
    "on_pre_optimizer_step": "on_optimizer_step_start",
    "on_sanity_check_start": "on_evaluation_start",
    "on_save": "on_checkpoint_saved",
    "on_save_checkpoint": "on_checkpoint_save",
    "on_step_begin": "on_step_start",
    "on_test_batch_end": "on_evaluation_batch_end",
    "on_test_batch_start": "on_evaluation_batch_start",
    "on_test_end": "on_evaluation_end",
    "on_test_epoch_end": "on_evaluation_end",
    "on_test_start": "on_evaluation_start",
    "on_train_batch_begin": "on_batch_start",
    "on_train_batch_end": "on_batch_end",
    "on_train_batch_start": "on_batch_start",
    "on_train_begin": "on_fit_start",
    "on_train_end": "on_fit_end",
    "on_train_start": "on_fit_start",
    "on_validation_batch_end": "on_evaluation_batch_end",
    "on_validation_batch_start": "on_evaluation_batch_start",
    "on_validation_end": "on_evaluation_end",
    "on_validation_epoch_end": "on_evaluation_end",
    "on_validation_epoch_start": "on_evaluation_start",
    "on_validation_start": "on_evaluation_start",
}
"""Hooks of other trainers, and the one of ours that comes then."""

PACKAGES: dict[str, str] = {
    "accelerate": "Accelerate",
    "catalyst": "Catalyst",
    "composer": "Composer",
    "fastai": "fastai",
    "ignite": "ignite",
    "lightning_fabric": "Lightning",
    "mmengine": "MMEngine",
    "poutyne": "Poutyne",
    "skorch": "skorch",
    "torchtnt": "TorchTNT",
}
"""Packages whose callbacks no dialect takes in, and what they are called."""

CALLBACKS: dict[str, str] = {
    "BackboneFinetuning": "Unfreeze",
    "CheckpointSaver": "Checkpoint",
    "DeviceStatsMonitor": "DeviceStats",
    "EarlyStopping": "EarlyStopping",
    "EarlyStoppingCallback": "EarlyStopping",
    "EMAHandler": "EMA",
    "EpochScoring": "Evaluate",
    "GradientAccumulationScheduler": "AccumulationSchedule",
    "GradientNormClipping": "ClipGradients",
    "LRMonitor": "LearningRate",
    "LRScheduler": "LRScheduler",
    "LearningRateFinder": "LRFinder",
    "LearningRateMonitor": "LearningRate",
    "ModelCheckpoint": "Checkpoint",
    "ProgressBarLogger": "ProgressBar",
    "RichModelSummary": "ModelSummary",
    "RichProgressBar": "ProgressBar",
    "SaveModelCallback": "BestCheckpoint",
    "SpeedMonitor": "Throughput",
    "StochasticWeightAveraging": "SWA",
    "TQDMProgressBar": "ProgressBar",
    "TerminateOnNan": "TerminateOnNonFinite",
    "TimeLimit": "StopAt",
    "Timer": "StopAt",
    "WandBLogger": "WandB",
    "WeightAveraging": "EMA",
}
"""Callbacks of those packages, and the one of `trackside.callbacks` that does it."""


PRECISIONS: dict[str, str] = {
    "16": "fp16",
    "16-mixed": "fp16",
    "16-true": "fp16",
    "32": "fp32",
    "32-true": "fp32",
    "amp": "fp16",
    "amp_bf16": "bf16",
    "amp_fp16": "fp16",
    "bf16-mixed": "bf16",
    "bf16-true": "bf16",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float32": "fp32",
    "full": "fp32",
    "half": "fp16",
    "mixed": "fp16",
    "mixed_float16": "fp16",
    "no": "fp32",
    "torch.bfloat16": "bf16",
    "torch.float16": "fp16",
    "torch.float32": "fp32",
}
"""Number formats as others write them, and as they are called here."""

PICKLED = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar", ".th")
"""Suffixes of files of `torch.save`."""


class UnknownOptionError(ConfigurationError, TypeError):
    """A keyword that a call doesn't know."""


class ForeignAttributeError(UsageError, AttributeError):
    """An attribute that another trainer has."""


class _Elsewhere:
    def __init__(self, name: str, native: str) -> None:
        self.name, self.native = name, native

    def __get__(self, holder: object, kind: type) -> Any:
        raise ForeignAttributeError(
            f"`{kind.__name__}` has no attribute `{self.name}`", remedy=self.native
        )


def refuses_idioms(kind: type[T]) -> type[T]:
    """Let a class of the tables above answer the words of other trainers with its own."""
    for owner, table in KEYWORDS.items():
        holder, _, method = owner.partition(".")
        if holder == kind.__name__:
            name = method or "__init__"
            setattr(kind, name, _refusing(getattr(kind, name), table, owner))
    for name, native in ATTRIBUTES.get(kind.__name__, {}).items():
        setattr(kind, name, _Elsewhere(name, native))
    return kind


def _refusing(call: Callable[..., Any], table: dict[str, str], owner: str) -> Any:
    known = frozenset(inspect.signature(call).parameters)

    @wraps(call)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if not known.issuperset(keywords):
            unknown = next(name for name in keywords if name not in known)
            native = table.get(unknown)
            raise UnknownOptionError(
                f"`{owner}` has no option `{unknown}`",
                remedy=native or did_you_mean(unknown, known - {"self"}),
                option=unknown,
            )
        return call(*arguments, **keywords)

    return checked


def not_pickled(path: str | PurePath) -> str:
    """How the weights in a file of `torch.save` are used here, where nothing is unpickled."""
    path = PurePath(path)
    return (
        "files of `torch.save` are not read here, since they may run code: convert the weights "
        f"once, `safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
        f"{path.stem + '.safetensors'!r})` (of a Lightning file its `['state_dict']`), and begin "
        f"with the callback `LoadWeights({path.stem + '.safetensors'!r})`"
    )


def package_of(callback: object) -> str | None:
    """The trainer a callback was written for, where no dialect takes it in; None: not known."""
    kind = callback if isinstance(callback, type) else type(callback)
    names = (cls.__module__.partition(".")[0] for cls in kind.__mro__)
    return next((PACKAGES[name] for name in names if name in PACKAGES), None)


def native_callback(callback: object) -> str:
    """Our counterpart of a callback of another trainer: one of ours, or hooks."""
    kind = callback if isinstance(callback, type) else type(callback)
    ours = next(
        (CALLBACKS[cls.__name__] for cls in kind.__mro__ if cls.__name__ in CALLBACKS), None
    )
    if ours is not None:
        return f"`trackside.callbacks.{ours}` does it here"
    used = sorted({new for name, new in HOOKS.items() if name in vars(kind)})
    hooks = ", ".join(f"`{name}`" for name in used) or "`on_batch_end(self, run, batch, output)`"
    return f"write it as a class of `trackside.Callback`, with {hooks}"
