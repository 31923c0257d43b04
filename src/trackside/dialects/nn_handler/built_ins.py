"""The built-in callbacks of nn_handler, under their names and with their options.

from trackside.dialects.nn_handler import EarlyStopping, ModelCheckpoint
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trackside.callbacks.reporting.tensorboard import TensorBoard
from trackside.callbacks.stopping.patience import Patience
from trackside.dialects import state_file
from trackside.dialects.nn_handler.adapter import Callback, Logs
from trackside.dialects.nn_handler.view import Handler
from trackside.errors import MonitorError, did_you_mean
from trackside.history import Mode, check_mode, has_improved
from trackside.lifecycle.adoption import Translated
from trackside.machine.accelerator import empty_cache


class _Watching(Callback):
    """A callback of the handler that it was added to."""

    @property
    def _handler(self) -> Handler:
        assert self.handler is not None, "set when the callback was added"
        return self.handler

    def _say(self, text: str, verbose: int) -> None:
        if verbose and self._handler.run.world.is_global_zero:
            self._handler.logger.info(text)


def _watched(logs: Logs | None, monitor: str) -> float:
    known = logs or {}
    if monitor not in known:
        raise MonitorError(
            f"`logs` have no {monitor!r}",
            received=", ".join(known) or "nothing",
            remedy=did_you_mean(monitor, known),
        )
    return float(known[monitor])


class ModelCheckpoint(_Watching):
    """Saves at the end of an epoch: whenever a metric is best so far, or every so many epochs.

    Args:
        filepath: The file, which ends in `.pth`; `{epoch:02d}` and names of `logs` in it are filled
            in. A folder: `best.pth` or `epoch-{epoch:02d}.pth` in it.
        monitor: Name of the metric in `logs`.
        mode: Whether smaller (`min`) or larger (`max`) is better.
        save_best_only: Whether a file is written for a new best value alone.
        save_weights_only: Whether optimizer, losses and states of callbacks are left out.
        save_freq: Epochs from one file to the next, without `save_best_only`.
        verbose: Whether each file is logged.
    """

    def __init__(
        self,
        filepath: str | Path = ".",
        monitor: str = "val_loss",
        mode: Mode = "min",
        save_best_only: bool = True,
        save_weights_only: bool = False,
        save_freq: int = 1,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if Path(filepath).is_dir():
            name = "best.pth" if save_best_only else "epoch-{epoch:02d}.pth"
            filepath = Path(filepath) / name
        self.filepath = str(Path(filepath).with_suffix(".pth"))
        self.monitor, self.mode = monitor, check_mode(mode)
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq, self.verbose = save_freq, verbose
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = _watched(logs, self.monitor)
            if not has_improved(value, self.best, self.mode):
                return
            self.best = value
        elif (epoch + 1) % self.save_freq:
            return
        path = self.filepath.format(**(logs or {}))
        if self.save_weights_only:
            run = self._handler.run
            state = state_file.state_of(run, self._handler.module, optimizer=False, scheduler=False)
            state_file.save_on_rank_zero(run, path, state)
        else:
            self._handler.save(path)
        self._say(f"epoch {epoch + 1}: saved {path}", self.verbose)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class EarlyStopping(_Watching):
    """Ends training when a metric has not improved for some epochs.

    Args:
        monitor: Name of the metric in `logs`.
        min_delta: Smallest improvement that counts, in the metric's own unit.
        patience: Epochs without one that end training.
        mode: Whether smaller (`min`) or larger (`max`) is better.
        verbose: Whether the end is logged.
        restore_best_weights: Whether the model ends with the weights of the best epoch.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 10,
        mode: Mode = "min",
        verbose: int = 0,
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__()
        self.monitor, self.verbose = monitor, verbose
        self.restore_best_weights = restore_best_weights
        self.waiting = Patience(check_mode(mode), patience, abs(min_delta), check_finite=False)
        self.best_weights: dict[str, Tensor] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        validated = self._handler.val_loader is None or "val_loss" in (logs or {})
        if self.monitor.startswith("val_") and not validated:
            return  # no validation in this epoch: nothing to judge
        verdict = self.waiting.judge(_watched(logs, self.monitor))
        if verdict.improved and self.restore_best_weights:
            state = self._handler.module.state_dict()
            self.best_weights = {name: weight.detach().clone() for name, weight in state.items()}
        if verdict.exhausted:
            self._say(f"epoch {epoch + 1}: {self.monitor} is no longer better", self.verbose)
            self._handler.set_stop(True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.restore_best_weights and self.best_weights is not None:
            self._handler.module.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        return {**self.waiting.state_dict(), "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.waiting.load_state_dict(state_dict)
        self.best_weights = state_dict["best_weights"]


class ProgressMonitor(_Watching):
    """Prints time, losses and learning rate of each epoch, on rank 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        known = logs or {}
        names = [n for n in ("loss", "val_loss", "lr") if n in known]
        figures = "  ".join(f"{name} {known[name]:.4g}" for name in names)
        seconds = known.get("epoch_time", 0.0)
        self._handler.print(f"epoch {epoch + 1}  {figures}  {seconds:.1f} s")


class LearningRateMonitor(Callback):
    """Learning rates in `logs`, for callbacks behind it: `lr`, and `lr_group_0` for each group."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and self.handler is not None and self.handler.optimizer is not None:
            rates = [group["lr"] for group in self.handler.optimizer.param_groups]
            logs.update(lr=rates[0], **{f"lr_group_{n}": rate for n, rate in enumerate(rates)})


class EpochTimer(Callback):
    """Seconds of the epoch in `logs`, for callbacks behind it, as `epoch_time_sec`."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["epoch_time_sec"] = logs["epoch_time"]


class ParameterNormMonitor(_Watching):
    """The norm of all parameters in `logs`, for callbacks behind it, as `param_norm_2`.

    Args:
        log_freq_epoch: Epochs from one to the next.
        norm_type: Of the norm: 2, 1, or `inf` for the largest.
    """

    def __init__(self, log_freq_epoch: int = 1, norm_type: float | Literal["inf"] = 2) -> None:
        super().__init__()
        self.log_freq_epoch, self.norm_type = log_freq_epoch, norm_type

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and (epoch + 1) % self.log_freq_epoch == 0:
            parameters = [p.detach() for p in self._handler.module.parameters()]
            norm = torch.nn.utils.get_total_norm(parameters, norm_type=float(self.norm_type))
            logs[f"param_norm_{self.norm_type}"] = float(norm)


class SimpleGarbageCollector(_Watching):
    """Collects Python's garbage at the end of an epoch.

    Args:
        collect_freq_epoch: Epochs from one to the next.
        verbose: Whether the number of objects is logged.
    """

    def __init__(self, collect_freq_epoch: int = 1, verbose: bool = False) -> None:
        super().__init__()
        self.collect_freq_epoch, self.verbose = collect_freq_epoch, verbose

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if (epoch + 1) % self.collect_freq_epoch == 0:
            self._say(f"epoch {epoch + 1}: {gc.collect()} objects collected", int(self.verbose))


class CudaGarbageCollector(SimpleGarbageCollector):
    """The same, and gives memory that the device's allocator keeps back to the device."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if (epoch + 1) % self.collect_freq_epoch == 0:
            empty_cache(self._handler.device)


class TensorBoardLogger(Translated):
    """All records as TensorBoard's events.

    Args:
        log_dir: Their folder, relative to the run's.
        comment: Added to its name.
    """

    def __init__(self, log_dir: str = "./logs", comment: str = "") -> None:
        super().__init__(TensorBoard(f"{log_dir}{comment}"))
