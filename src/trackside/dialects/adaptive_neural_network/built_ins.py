"""The built-in callbacks of the adaptive neural network, under their names and with their options.

from trackside.dialects.adaptive_neural_network import LoggingCallback, ProfilingCallback
"""

from __future__ import annotations

from statistics import fmean
from time import perf_counter

import torch

from trackside.dialects.adaptive_neural_network.adapter import Callback, Logs, Trainer
from trackside.machine.accelerator import memory_counters


class LoggingCallback(Callback):
    """Prints losses, accuracy and throughput; values that `logs` don't have are left out.

    Args:
        log_interval: Batches from one line to the next.
        verbose: Whether anything is printed.
    """

    def __init__(self, log_interval: int = 10, verbose: bool = True) -> None:
        self.log_interval, self.verbose = log_interval, verbose
        self._began = 0.0
        self._samples = 0

    def on_epoch_begin(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self._began, self._samples = perf_counter(), 0
        self._print(trainer, f"epoch {epoch + 1} of {trainer.num_epochs}")

    def on_batch_end(self, batch_idx: int, trainer: Trainer, logs: Logs | None = None) -> None:
        known = logs or {}
        self._samples += int(known.get("batch_size", 0))
        if self.verbose and (batch_idx + 1) % self.log_interval == 0:
            rate = self._samples / max(perf_counter() - self._began, 1e-9)
            figures = _figures({n: known[n] for n in ("loss", "accuracy") if n in known})
            self._print(trainer, f"batch {batch_idx + 1}  {figures}  {rate:,.0f} samples/s")

    def on_epoch_end(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self._print(trainer, f"epoch {epoch + 1} is over  {_figures(logs or {})}")

    def _print(self, trainer: Trainer, text: str) -> None:
        if self.verbose and trainer.run.world.is_global_zero:
            print(text)  # noqa: T201 - what the callback is for


def _figures(values: Logs) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


class ProfilingCallback(Callback):
    """Measures epochs and batches, and the device's memory; `get_metrics` has the means.

    Args:
        profile_memory: Whether the peak of the device's memory is kept.
        profile_cuda: Whether the device is waited for before a clock is read.
    """

    def __init__(self, profile_memory: bool = True, profile_cuda: bool = True) -> None:
        self.profile_memory, self.profile_cuda = profile_memory, profile_cuda
        self.epoch_times: list[float] = []
        self.batch_times: list[float] = []
        self.memory_usage: list[int] = []
        self._epoch_began = self._batch_began = 0.0

    def on_epoch_begin(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self._epoch_began = self._now(trainer)

    def on_batch_begin(self, batch_idx: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self._batch_began = self._now(trainer)

    def on_batch_end(self, batch_idx: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self.batch_times.append(self._now(trainer) - self._batch_began)

    def on_epoch_end(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None:
        self.epoch_times.append(self._now(trainer) - self._epoch_began)
        counters = memory_counters(trainer.device) if self.profile_memory else None
        if counters is not None:
            self.memory_usage.append(counters.max_memory_allocated(trainer.device))

    def on_train_end(self, trainer: Trainer, logs: Logs | None = None) -> None:
        if trainer.run.world.is_global_zero:
            for name, value in self.get_metrics().items():
                print(f"{name}: {value:.6g}")  # noqa: T201 - what the callback is for

    def get_metrics(self) -> dict[str, float]:
        """Means in seconds, `avg_epoch_time` and `avg_batch_time`, and `max_memory` in bytes."""
        means = {"avg_epoch_time": self.epoch_times, "avg_batch_time": self.batch_times}
        found = {name: fmean(values) for name, values in means.items() if values}
        return found | ({"max_memory": max(self.memory_usage)} if self.memory_usage else {})

    def _now(self, trainer: Trainer) -> float:
        if self.profile_cuda and trainer.device.type != "cpu":
            torch.accelerator.synchronize(trainer.device)
        return perf_counter()
