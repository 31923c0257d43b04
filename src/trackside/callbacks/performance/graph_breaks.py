"""GraphBreaks: why torch.compile can't take a model in one piece."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, final

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from trackside.callbacks.performance.graph_report import difference, of_counters, of_explanation
from trackside.lifecycle.hooks import Batch, Callback
from trackside.machine import randomness
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import replace_inside

logger = logging.getLogger("trackside")


@final
class GraphBreaks(Callback):
    """Writes `graph_breaks.txt` into the run's folder: what torch.compile makes of the model.

    Of a compiled model, what its compilation counted: graphs, breaks with their reasons,
    recompilations; after the first step and at the end. Of another one, what compiling it would
    bring, tried once on the first batch. The trial leaves weights, buffers and generators alone.

    Example:
        >>> GraphBreaks()
    """

    effect = "observes"
    on_error = "warn"

    def __init__(self) -> None:
        # Takes a second to import, so only on request.
        self._dynamo = import_module("torch._dynamo")
        self._counters = import_module("torch._dynamo.utils").counters
        self._before: dict[str, dict[str, int]] | None = None
        self._calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._watching: list[RemovableHandle] = []

    def on_fit_start(self, run: Run) -> None:
        self._before = None
        self._calls.clear()
        if any(_is_compiled(model) for model in run.models.values()):
            self._before = {topic: dict(counts) for topic, counts in self._counters.items()}
            return
        for name, model in run.models.items():

            def saw(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                self._calls.setdefault(name, (args, kwargs))

            self._watching.append(model.register_forward_pre_hook(saw, with_kwargs=True))

    def on_batch_end(self, run: Run, batch: Batch, output: Any) -> None:
        if not self._watching:
            return
        self._stop_watching()
        calls, self._calls = self._calls, {}
        parts = []
        for name, (args, kwargs) in calls.items():
            model = run.models[name]
            with _untouched(model), run.precision.autocast or nullcontext():
                parts.append(of_explanation(name, self._dynamo.explain(model)(*args, **kwargs)))
        self._write(run, "\n".join(parts))

    def on_step_end(self, run: Run) -> None:
        if self._before is not None and run.progress.epoch_steps_completed <= 1:
            self._write_counters(run)

    def on_fit_end(self, run: Run) -> None:
        if self._before is not None:
            self._write_counters(run)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._stop_watching()

    def _stop_watching(self) -> None:
        watching, self._watching = self._watching, []
        for handle in watching:
            handle.remove()

    def _write_counters(self, run: Run) -> None:
        self._write(run, of_counters(difference(self._counters, self._before or {})))

    def _write(self, run: Run, text: str) -> None:
        if run.world.is_global_zero:
            path = run.directory / "graph_breaks.txt"
            replace_inside(run.directory, path.name, text)
            logger.info("wrote what torch.compile makes of the model to %s", path)


def _is_compiled(model: nn.Module) -> bool:
    return getattr(model, "_compiled_call_impl", None) is not None or hasattr(model, "_orig_mod")


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Whatever a forward pass inside does to buffers and generators is undone."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with randomness.preserved():
            yield
    finally:
        with torch.no_grad():
            for buffer, values in kept:
                buffer.copy_(values)
