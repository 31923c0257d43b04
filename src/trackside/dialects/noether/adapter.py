"""Callbacks written for Noether: periodic ones, and ones that pass over a data set.

    from trackside.dialects.noether.adapter import PeriodicCallback, PeriodicDataIteratorCallback

A callback is made of its configuration alone, `MyCallback(MyConfig(every_n_epochs=1))`; what
Noether gives its constructor (trainer, model, writer, ...) is there when the run begins. `build`
makes one of an entry of its YAML. Arguments of hooks are keywords; counters count what is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from trackside.dialects.noether.bases import FREQUENCIES as FREQUENCIES
from trackside.dialects.noether.bases import CallbackBase as CallbackBase
from trackside.dialects.noether.bases import CallBackBaseConfig as CallBackBaseConfig
from trackside.dialects.noether.bases import EarlyStopIteration as EarlyStopIteration
from trackside.dialects.noether.bases import EarlyStopperBase as EarlyStopperBase
from trackside.dialects.noether.bases import PeriodicCallback as PeriodicCallback
from trackside.dialects.noether.bases import (
    PeriodicDataIteratorCallback as PeriodicDataIteratorCallback,
)
from trackside.dialects.noether.bases import (
    PeriodicDataIteratorCallbackConfig as PeriodicDataIteratorCallbackConfig,
)
from trackside.dialects.noether.counters import UpdateCounter as UpdateCounter
from trackside.dialects.noether.deciding import decides, descendants, is_due
from trackside.dialects.noether.entries import build as build
from trackside.dialects.noether.entries import callback as callback
from trackside.dialects.noether.lent import lend_optimizers, take_back
from trackside.dialects.noether.measured import Measuring
from trackside.dialects.noether.passes import SamplerIntervalConfig as SamplerIntervalConfig
from trackside.dialects.noether.passes import pass_over, sampling_of, source_of
from trackside.dialects.noether.provided import parts_of
from trackside.dialects.noether.records import record_written
from trackside.dialects.noether.run import OVER, UPDATED, CheckpointWriter, TrainerView
from trackside.dialects.translation import (
    Adapter,
    Call,
    Row,
    at_the_end,
    carried_by,
    not_supported,
    noted,
    row,
)
from trackside.dialects.values import as_mapping
from trackside.errors import ConfigurationError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.outcome import Outcome
from trackside.run import Evaluation, Rollback, Run
from trackside.schedule import Due, Every

# --- what the hooks get ------------------------------------------------------------------------


def _after_batch(adapter: NoetherAdapter, run: Run, batch: Any, output: Any) -> None:
    returned = as_mapping(output)
    loss = returned.pop("loss")
    adapter.foreign.track_after_accumulation_step(
        update_counter=UpdateCounter.of(run, samples=adapter.measuring.samples_before),
        batch=batch,
        losses={"total": loss},
        update_outputs=returned or None,
        accumulation_steps=run.accumulate,
        accumulation_step=(run.progress.epoch_batches_completed - 1) % run.accumulate,
    )


def _after_update(adapter: NoetherAdapter, run: Run) -> None:
    adapter.foreign.track_after_update_step(
        update_counter=UpdateCounter.of(run), times=adapter.measuring.end(run)
    )


def _due_after_update(adapter: NoetherAdapter, run: Run) -> None:
    if adapter.asked("after_update"):
        return
    if adapter.after_updates is not None and adapter.after_updates.crossed(run.progress):
        adapter.periodic("update" if adapter.foreign.every_n_samples is None else "sample")


def _due_after_epoch(adapter: NoetherAdapter, run: Run, metrics: dict[str, float]) -> None:
    if adapter.asked("after_epoch"):
        return
    if adapter.after_epochs is not None and adapter.after_epochs.crossed(run.progress):
        adapter.periodic("epoch")


def _at_evaluation(adapter: NoetherAdapter, run: Run, evaluation: Evaluation) -> None:
    if run.mode != "evaluate" or adapter.data_key not in (None, evaluation.name):
        return
    if not adapter.asked("at_eval"):
        adapter.periodic("eval")


def _after_training(adapter: NoetherAdapter, run: Run) -> None:
    adapter.view.shared[OVER] = True
    adapter.foreign.after_training(update_counter=UpdateCounter.of(run))


_PERIODIC: dict[Call, Call] = {
    Ours.on_step_end: _due_after_update,
    Ours.on_epoch_end: _due_after_epoch,
    Ours.on_evaluation_end: _at_evaluation,
}
_FINAL = "final in Noether: override `periodic_callback`, which it calls"

TABLE: dict[str, Row] = {
    "before_training": row(
        Ours.on_fit_start,
        lambda a, run: a.foreign.before_training(update_counter=UpdateCounter.of(run)),
        "model, data and writer are there",
        evaluating=True,
    ),
    "track_after_accumulation_step": row(
        Ours.on_batch_end,
        _after_batch,
        "after the backward pass of each batch; `losses`: `total`; `update_outputs`: what else the "
        "step returned; `accumulation_step` from 0 in each update; counters as before it",
    ),
    "track_after_update_step": row(
        Ours.on_step_end,
        _after_update,
        "after each update; `times` in seconds of the host: `data_wait` (also `data_time`), "
        "`forward`, `backward` with the update, and `update`, the sum of these two",
        evaluating=True,
    ),
    "periodic_callback": carried_by(
        _PERIODIC,
        "after every n updates, n samples (when the count is crossed) or n epochs (after their "
        "evaluations), and with `interval_type='eval'` in `Trainer.evaluate`",
        turn=1,
        evaluating=True,
    ),
    "process_data": carried_by(
        _PERIODIC,
        "for each batch of the callback's data set, shared out over the ranks",
        turn=1,
        evaluating=True,
    ),
    "process_results": Row(
        note="after `process_data`: its results for the whole data set, in order, on every rank"
    ),
    "register_sampler_config": Row(note="when training begins"),
    "after_epoch": not_supported(_FINAL),
    "after_update": not_supported(_FINAL),
    "at_eval": not_supported(_FINAL),
    "resume_from_checkpoint": not_supported(
        "state that belongs to a run is in its checkpoints: return it from `state_dict`"
    ),
    "after_training": at_the_end(
        _after_training,
        "also when training fails",
        evaluating=True,
    ),
}
"""Their hooks."""


class NoetherAdapter(Adapter):
    """Answers for a callback of Noether."""

    dialect = "noether"
    table = TABLE
    view_class = TrainerView
    prefixes = ("before_", "after_", "track_after_", "periodic_", "process_", "register_")
    records_gradients = False
    evaluates_always = True

    def __init__(self, foreign: Any, base: type) -> None:
        self.after_updates: Due | None = None
        self.after_epochs: Due | None = None
        self.data_key: str | None = getattr(foreign, "dataset_key", None) or getattr(
            getattr(foreign, "callback_config", None), "dataset_key", None
        )
        self.sampling = SamplerIntervalConfig()
        self.measuring = Measuring()
        self.lent: list[Any] = []
        """Models of Noether's kind that show the optimizer of the run meanwhile."""
        self.failure: Exception | None = None
        """The error of the hook that was due: raised when the other callbacks have had theirs."""
        self.was_due = False
        self.ends = False
        """Whether it has asked for the end: weights and optimizer are saved after the others."""
        super().__init__(foreign, base)
        for hook, calls in self._calls.items():
            calls.append((2, partial(self._settle, hook)))
        for hook, call in self._measured():
            self._calls.setdefault(hook, []).insert(0, (-1, call))
            vars(self)[hook] = self._all_calls(hook)
        every = next(
            (
                Every(**{unit: getattr(foreign, name)})
                for name, unit in FREQUENCIES.items()
                if getattr(foreign, name, None) is not None
            ),
            None,
        )
        if every is not None and every.epochs is not None:
            self.after_epochs = Due(every)
        elif every is not None:
            self.after_updates = Due(every)

    def _measured(self) -> Iterator[tuple[str, Call]]:
        """Hooks of ours in which something is measured, before all callbacks have theirs."""
        if "on_step_end" in self._calls:
            yield "on_step_end", self._note_update
        if self.overrides("track_after_accumulation_step"):
            yield "on_batch_start", self.measuring.count
        if self.overrides("track_after_update_step"):
            yield "on_batch_start", self.measuring.begin
            yield "on_backward_start", self.measuring.turn
            yield "on_backward_end", self.measuring.turned

    def rows(self) -> Mapping[str, Row]:
        """A callback that passes over data is called once when it is due, for the whole pass."""
        not_called = "periodic_callback" if self.overrides("process_data") else "process_data"
        return {name: row for name, row in TABLE.items() if name != not_called}

    @property
    def default_name(self) -> str:
        """The callback's name or id, else its class."""
        name: str | None = getattr(self.foreign, "name", None)
        return name or type(self.foreign).__name__

    def on_fit_start(self, run: Run) -> None:
        """Set the attributes that Noether passes to the constructor."""
        super().on_fit_start(run)
        self._provide(run)
        self.measuring.start(run)
        self._start_counting(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        """Count intervals from the restored checkpoint."""
        self._start_counting(run)

    def _start_counting(self, run: Run) -> None:
        for due in (self.after_updates, self.after_epochs):
            if due is not None:
                due.start(run.progress)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Leave the run, and its models as they were."""
        take_back(self.lent)
        super().on_close(run, outcome)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        """Do the same in `Trainer.evaluate`, which has no start of training."""
        if run.mode == "evaluate":
            self._provide(run)

    def _provide(self, run: Run) -> None:
        views = {**parts_of(run, self.data_key), "trainer": self.view}
        for name, value in views.items():
            setattr(self.foreign, name, value)
        self.lent = lend_optimizers(run)
        if self.overrides("process_data"):
            self.sampling = sampling_of(self.foreign)
            source_of(run, self._key)
        for child in descendants(self.foreign):
            if hasattr(child, "process_data"):
                vars(child)["_iterate_over_dataset"] = partial(self._pass_of, child)

    def _pass_of(self, child: Any, **_: Any) -> Any:
        """The pass of a callback that this one owns and calls."""
        model = self.view.run.model
        return pass_over(
            self.view.run,
            child.dataset_key,
            sampling_of(child),
            lambda batch: child.process_data(batch, trainer_model=model),
        )

    def _note_update(self, run: Run) -> None:
        """An update is complete: what is written from the next batch on belongs to the next."""
        self.view.shared[UPDATED] = run.progress.batches_completed

    def _settle(self, hook: str, run: Run, *_: Any) -> None:
        """All callbacks have had the hook: record what they wrote, raise what went wrong."""
        together = self.was_due or hook in ("on_fit_start", "on_fit_end")
        self.was_due, failure, self.failure = False, self.failure, None
        record_written(run, together=together)
        if self.ends:
            self.ends = False
            self._save("early_exit")
        if failure is not None:
            try:
                self._save("error")
            except Exception as second:  # the first is the one to report
                failure.add_note(f"the weights could not be saved: {second}")
            raise failure

    def _save(self, why: str) -> None:
        writer = CheckpointWriter()
        writer.look_at(self.view.run)
        writer.save(self.view.model, f"{self.view.update_counter.cur_iteration}.{why}")

    @property
    def _key(self) -> str:
        if self.sampling.dataset_key is not None:
            return self.sampling.dataset_key
        if self.data_key is None:
            raise ConfigurationError(
                f"{self.default_name!r} passes over data, and doesn't say over which",
                remedy="give its configuration a `dataset_key`",
            )
        return self.data_key

    def asked(self, method: str) -> bool:
        """Ask a callback that decides itself whether it is due; False where the interval does."""
        base = next(
            (c for c in type(self.foreign).__mro__ if _named(c) == "PeriodicCallback"), None
        )
        if base is None or not decides(self.foreign, base, method):
            return False
        counter = UpdateCounter.of(self.view.run)
        self.was_due = self.was_due or is_due(self.foreign, method, counter)
        given = {"data_iter": None, "trainer_model": self.view.model, "batch_size": None}
        owned = any(hasattr(child, "process_data") for child in descendants(self.foreign))
        getattr(self.foreign, method)(update_counter=counter, **(given if owned else {}))
        return True

    def periodic(self, interval_type: str) -> None:
        """The callback is due."""
        self.was_due = True
        run = self.view.run
        counter = UpdateCounter.of(run)
        if not self.overrides("process_data"):
            self.foreign.periodic_callback(interval_type=interval_type, update_counter=counter)
            return
        results = pass_over(
            run,
            self._key,
            self.sampling,
            lambda batch: self.foreign.process_data(batch, trainer_model=run.model),
        )
        self.foreign.process_results(results, interval_type=interval_type, update_counter=counter)

    def failed(self, name: str, error: Exception) -> Any:
        """An `EarlyStopIteration` is a request to stop; another error waits for the others.

        On several ranks it does not wait: the other ranks stand in what failed here.
        """
        run = self.view.run
        if any(cls.__name__ == "EarlyStopIteration" for cls in type(error).__mro__):
            run.stop(str(error) or "EarlyStopIteration")
            self.ends = True
        elif name in ("periodic_callback", "process_data") and run.world.size == 1:
            self.failure = noted(self, name, error)
        else:
            super().failed(name, error)


# --- recognising -------------------------------------------------------------------------------

BASES = {
    "PeriodicDataIteratorCallback": "noether.core.callbacks.periodic",
    "PeriodicCallback": "noether.core.callbacks.periodic",
    "CallbackBase": "noether.core.callbacks.base",
}
"""Their own base classes, the most derived first."""


def _named(cls: type) -> str:
    """The name of a base class of theirs; empty for other classes."""
    return cls.__name__ if BASES.get(cls.__name__) == cls.__module__ else ""


def adopt(callback: object) -> NoetherAdapter | None:
    """The adapter of a callback of Noether; None for others."""
    for cls in type(callback).__mro__:
        ours = cls in (PeriodicDataIteratorCallback, PeriodicCallback, CallbackBase)
        if ours or BASES.get(cls.__name__) == cls.__module__:
            return NoetherAdapter(callback, cls)
    return None


adoption.adopters.append(adopt)
