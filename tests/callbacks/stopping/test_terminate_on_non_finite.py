from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from tests.device import same
from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.callbacks.stopping.finiteness import LateFlag
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.checkpoint import open_checkpoint
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.lifecycle.hooks import Callback
from trackside.progress import TrainingBatch
from trackside.run import Run
from trackside.schedule import Every
from trackside.testing import Task, tiny_classification, tiny_regression
from trackside.trainer.settings import Result

NAN = float("nan")


class Spoiler(Callback):
    """Makes the data, the loss or a gradient of given steps bad."""

    runs_before = (TerminateOnNonFinite,)

    def __init__(self, *steps: int, data: bool = False, gradient: bool = False) -> None:
        self.steps, self.data, self.gradient = steps, data, gradient

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        if run.progress.steps_completed + 1 in self.steps and self.data:
            inputs, target = batch
            return [inputs * NAN, target]
        return None

    def on_backward_start(self, run: Run, loss: torch.Tensor) -> None:
        if run.progress.steps_completed + 1 in self.steps and not (self.data or self.gradient):
            loss.fill_(NAN)

    def on_backward_end(self, run: Run, loss: torch.Tensor) -> None:
        if run.progress.steps_completed + 1 in self.steps and self.gradient:
            next(run.model.parameters()).grad.fill_(NAN)  # type: ignore[union-attr]


class AsOnAnAccelerator(Callback):
    """What is bad is told late, and decided where the optimizer computes: with fused ones."""

    runs_after = (TerminateOnNonFinite,)

    def on_optimizers_ready(self, run: Run) -> None:
        watch = run.callbacks[TerminateOnNonFinite]
        watch._waits = watch.skips_steps = False
        watch.unused_hooks = frozenset()


def fit(task: Task, spoiler: Spoiler, watch: TerminateOnNonFinite, **options: Any) -> Result:
    trainer = task.trainer(callbacks=[spoiler, watch], **options)
    return trainer.fit(task.train, steps=6)


def test_no_step_comes_after_the_bad_one_and_the_weights_stay_finite() -> None:
    task = tiny_regression()

    result = fit(task, Spoiler(3), TerminateOnNonFinite())

    assert (result.outcome.status, result.outcome.step) == ("diverged", 3)
    assert task.weights.isfinite().all()


def test_the_message_names_step_and_who_asked() -> None:
    outcome = fit(tiny_regression(), Spoiler(3), TerminateOnNonFinite()).outcome

    assert outcome.asked_by == "terminate_on_non_finite"
    assert outcome.reason == "the loss is nan in step 3; batch and weights are finite"


def test_bad_data_is_told_from_bad_weights() -> None:
    outcome = fit(tiny_regression(), Spoiler(2, data=True), TerminateOnNonFinite()).outcome

    assert outcome.reason == "the loss is nan in step 2; the data is bad already: batch[0]"


def test_a_bad_gradient_is_named_by_its_parameter() -> None:
    watch = TerminateOnNonFinite(gradients=True)

    outcome = fit(tiny_regression(), Spoiler(2, gradient=True), watch).outcome

    assert outcome.reason == "a gradient is nan in step 2; not finite: weight"


def test_gradients_are_looked_at_only_when_asked() -> None:
    task = tiny_regression()
    spoiler = Spoiler(2, gradient=True)

    outcome = fit(task, spoiler, TerminateOnNonFinite()).outcome

    assert outcome.step == 3  # the step after: its loss is bad
    assert "not finite: weight" in outcome.reason


def test_raise_ends_the_run_with_an_error() -> None:
    with pytest.raises(NonFiniteError, match="the loss is nan in step 2"):
        fit(tiny_regression(), Spoiler(2), TerminateOnNonFinite("raise"))


def test_skip_drops_the_update_and_goes_on() -> None:
    task = tiny_regression()

    result = fit(task, Spoiler(2, 4), TerminateOnNonFinite("skip"))

    assert (result.outcome.status, result.outcome.step) == ("completed", 6)
    assert task.weights.isfinite().all()


def test_too_many_skips_in_a_row_stop_the_run() -> None:
    watch = TerminateOnNonFinite("skip", max_skips=2)

    outcome = fit(tiny_regression(), Spoiler(1, 2, 3, 4), watch).outcome

    assert (outcome.step, outcome.reason) == (
        3,
        "3 steps in a row had values that aren't finite",
    )


def test_skips_that_are_not_in_a_row_are_forgiven() -> None:
    watch = TerminateOnNonFinite("skip", max_skips=1)

    assert fit(tiny_regression(), Spoiler(1, 3, 5), watch).outcome.step == 6


def test_a_bad_batch_among_accumulated_ones_drops_the_whole_step() -> None:
    task = tiny_regression(samples=16)

    fit(task, Spoiler(1), TerminateOnNonFinite(), accumulate=2)

    assert same(task.weights, tiny_regression(samples=16).weights)


def test_a_checkpoint_of_bad_weights_is_refused() -> None:
    task = tiny_classification()
    watch = TerminateOnNonFinite()

    class Ruin(Callback):
        def on_fit_end(self, run: Run) -> None:
            with torch.no_grad():
                next(run.model.buffers()).fill_(NAN)
            run.emit(Callback.on_checkpoint_save, {})

    with pytest.raises(NonFiniteError, match="refused"):
        task.trainer(callbacks=[watch, Ruin()]).fit(task.train, steps=1)


def test_watching_changes_no_weight() -> None:
    watched, other = tiny_classification(), tiny_classification()
    fit(watched, Spoiler(), TerminateOnNonFinite(gradients=True))
    other.trainer().fit(other.train, steps=6)

    assert watched.weights.equal(other.weights)


def fused(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, fused=True)


@pytest.mark.parametrize("gradient", [False, True])
def test_on_an_accelerator_the_update_is_left_out_without_a_wait(gradient: bool) -> None:
    spoiled, until_then = tiny_regression(), tiny_regression()
    watch = TerminateOnNonFinite(gradients=gradient)
    callbacks = [Spoiler(3, gradient=gradient), watch, AsOnAnAccelerator()]

    trainer = spoiled.trainer(callbacks=callbacks, optimizer=fused)
    outcome = trainer.fit(spoiled.train, steps=6).outcome
    until_then.trainer(optimizer=fused).fit(until_then.train, steps=2)

    what = "a gradient" if gradient else "the loss"
    assert (outcome.step, outcome.reason) == (3, f"{what} is not finite in step 3")
    assert spoiled.weights.equal(until_then.weights)


def test_what_was_bad_in_the_last_step_is_known_before_the_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LateFlag, "glance", lambda self: None)  # nothing has arrived yet
    task = tiny_regression()
    callbacks = [Spoiler(3), TerminateOnNonFinite(), AsOnAnAccelerator()]

    outcome = task.trainer(callbacks=callbacks, optimizer=fused).fit(task.train, steps=3).outcome

    assert (outcome.status, outcome.reason) == ("diverged", "the loss is not finite in step 3")


def test_on_an_accelerator_bad_data_is_named_although_its_step_is_over() -> None:
    task = tiny_regression()
    callbacks = [Spoiler(3, data=True), TerminateOnNonFinite(), AsOnAnAccelerator()]

    outcome = task.trainer(callbacks=callbacks, optimizer=fused).fit(task.train, steps=6).outcome

    reason = "the loss is not finite in step 3; the data is bad already: batch[0]"
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("device", "policy", "make", "way"),
    [
        ("cpu", "stop", fused, "looked at before each update"),
        ("cuda", "stop", fused, "looked at on the device; the optimizer leaves a bad update out"),
        ("cuda", "skip", fused, "waited for before each update: the policy `skip` has to know"),
        ("cuda", "stop", torch.optim.RMSprop, "waited for before each update: with `fused=True`"),
    ],
)
def test_the_way_is_chosen_by_device_policy_and_optimizer_and_can_be_told(
    device: str, policy: Any, make: Any, way: str
) -> None:
    optimizer = make([torch.nn.Parameter(torch.ones(1))])
    run: Any = SimpleNamespace(device=torch.device(device), optimizers={"optimizer": optimizer})

    watch = TerminateOnNonFinite(policy)
    watch.on_optimizers_ready(run)

    assert watch.chosen_way(run).startswith(f"the loss is {way}")
    assert watch._waits is ("on the device" not in way)


def test_a_step_that_fails_leaves_nothing_on_the_optimizer() -> None:
    class Fails(Callback):
        runs_after = (TerminateOnNonFinite,)

        def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
            made.append(optimizer)
            raise OSError("no more")

    made: list[Any] = []
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[TerminateOnNonFinite(), AsOnAnAccelerator(), Fails()], optimizer=fused
    )
    with pytest.raises(OSError, match="no more"):
        trainer.fit(task.train, steps=1)
    assert not hasattr(made[0], "found_inf")


def test_a_policy_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `skip`"):
        TerminateOnNonFinite("skipp")  # type: ignore[arg-type]


@pytest.mark.parametrize("max_skips", [0, 1.5])
def test_max_skips_is_a_number_of_steps(max_skips: int) -> None:
    with pytest.raises(ConfigurationError, match="max_skips"):
        TerminateOnNonFinite("skip", max_skips=max_skips)


@pytest.mark.parametrize(
    ("device", "policy", "is_fused", "waits"),
    [
        ("cpu", "stop", True, True),
        ("cuda", "stop", True, False),
        ("cuda", "raise", True, False),
        ("cuda", "roll_back", True, False),
        ("cuda", "skip", True, True),
        ("cuda", "stop", False, True),
    ],
)
def test_the_host_waits_for_an_accelerator_where_that_can_not_decide(
    device: str, policy: Any, is_fused: bool, waits: bool
) -> None:
    watch, run = TerminateOnNonFinite(policy), Run("fit")
    run.device = torch.device(device)
    parameters = [nn.Parameter(torch.zeros(1))]
    run.optimizers = {"optimizer": torch.optim.SGD(parameters, lr=0.1, fused=is_fused)}

    watch.on_optimizers_ready(run)

    assert watch._waits is waits


# --- rolling back ------------------------------------------------------------------------------


BAD = (5, 17)
"""Samples that are marked as bad, of 32; batches have 4."""


def marked(*bad: int, value: float = 9.0) -> TensorDataset:
    inputs = torch.rand(32, 3, generator=torch.Generator().manual_seed(1))
    inputs[list(bad), 0] = value
    return TensorDataset(inputs, inputs.sum(1, keepdim=True).nan_to_num(0.0))


class Ruin(Callback):
    """The gradient of a batch with a marked sample is bad, its loss isn't."""

    runs_before = (TerminateOnNonFinite,)

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.marked = bool((batch[0] == 9.0).any())

    def on_backward_end(self, run: Run, loss: torch.Tensor) -> None:
        if self.marked:
            next(run.model.parameters()).grad.fill_(NAN)  # type: ignore[union-attr]


class Notes(Callback):
    """What the run knows of its returns, and which samples were trained on since the last one."""

    def on_fit_end(self, run: Run) -> None:
        self.rollbacks = list(run.rollbacks)
        self.bad_left_out = [
            sorted(set(BAD).intersection(batch.samples))
            for rollback in run.rollbacks
            for batch in rollback.left_out
        ]


class Without(BatchSampler):
    """Shuffled batches that hold none of certain samples."""

    def __init__(self, bad: tuple[int, ...]) -> None:
        super().__init__(RandomSampler(range(32)), 4, drop_last=False)
        self.bad = bad

    def __iter__(self) -> Iterator[list[int]]:
        return (batch for batch in super().__iter__() if not set(batch) & set(self.bad))


def trainer(folder: str, *callbacks: Callback) -> Trainer:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))

    return Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=fused,
        seed=2,
        defaults=False,
        callbacks=[Checkpoint(Every(steps=3, first=True)), *callbacks],
        settings=Settings(directory=folder, log_every="2 steps"),
    )


def state(one: Trainer) -> dict[str, torch.Tensor]:
    return one.models["model"].state_dict()


@pytest.mark.parametrize("late", [False, True])
def test_rolled_back_it_ends_as_if_the_bad_batches_had_never_been_in_the_data(late: bool) -> None:
    notes = Notes()
    watch = TerminateOnNonFinite("roll_back", gradients=True)
    first = trainer("run", watch, notes, *([AsOnAnAccelerator()] if late else []))
    never = trainer("never")
    data = marked(*BAD, value=NAN)

    result = first.fit(DataLoader(data, 4, shuffle=True), epochs=2)
    expected = never.fit(DataLoader(data, batch_sampler=Without(BAD)), epochs=2)

    assert result.outcome.status == "completed"
    assert sorted(notes.bad_left_out) == [[5], [5], [17], [17]]
    rows = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in one.history.rows()]
        for one in (result, expected)
    ]
    assert rows[0] == rows[1]
    assert all(torch.equal(state(first)[name], value) for name, value in state(never).items())


@pytest.mark.parametrize("gradients", [False, True])
def test_the_batch_of_a_ruinous_update_is_left_out_not_the_one_after(gradients: bool) -> None:
    notes = Notes()
    watch = TerminateOnNonFinite("roll_back", gradients=gradients)

    first = trainer("run", watch, Ruin(), notes)
    result = first.fit(DataLoader(marked(*BAD), 4, shuffle=True), epochs=1)

    assert result.outcome.status == "completed"
    assert sorted(notes.bad_left_out) == [[5], [17]]
    assert all(value.isfinite().all() for value in state(first).values())


@pytest.mark.cpu("looked at before the update; an accelerator tells a step later")
def test_a_rollback_names_step_and_tensor(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    data = DataLoader(marked(13, value=NAN), 4)

    trainer("run", TerminateOnNonFinite("roll_back"), notes).fit(data, epochs=1)

    (rollback,) = notes.rollbacks
    assert rollback.reason == "the loss is nan in step 4; the data is bad already: batch[0]"
    assert (rollback.from_step, rollback.to_step) == (4, 3)
    assert rollback.left_out == (TrainingBatch(0, 3, (12, 13, 14, 15)),)
    assert "went back from step 4 to step 3: the loss is nan in step 4" in caplog.text
    assert "left out from now on: batch 3 of epoch 0" in caplog.text


@pytest.mark.cpu("looked at before the update; an accelerator tells a step later")
def test_when_the_budget_is_used_up_the_run_stops_and_says_so() -> None:
    watch = TerminateOnNonFinite("roll_back", max_rollbacks=1)
    first = trainer("run", watch)

    outcome = first.fit(DataLoader(marked(14, 22, value=NAN), 4), epochs=1).outcome

    assert (outcome.status, outcome.asked_by) == ("diverged", "terminate_on_non_finite")
    assert outcome.reason == (
        "the loss is nan in step 5; the data is bad already: batch[0]; "
        "and it went back once already"
    )
    assert all(value.isfinite().all() for value in state(first).values() if value.ndim == 2)


def test_the_budget_counts_over_resumes() -> None:
    data = DataLoader(marked(14, 30, value=NAN), 4)
    watch = TerminateOnNonFinite("roll_back", max_rollbacks=1)
    trainer("run", watch).fit(data, steps=6)

    resumed = trainer("run", TerminateOnNonFinite("roll_back", max_rollbacks=1))
    outcome = resumed.fit(data, epochs=1, resume="auto").outcome

    assert outcome.reason.endswith("and it went back once already")


@pytest.mark.parametrize("late", [False, True])
def test_a_state_that_is_not_finite_is_rolled_back_instead_of_saved(late: bool) -> None:
    saved: list[str] = []

    class Saved(Callback):
        def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
            saved.append(checkpoint.name)
            kept = open_checkpoint(checkpoint).state()["models"]["model"]
            assert all(tensor.isfinite().all() for tensor in kept.values())

    notes = Notes()
    more: list[Callback] = [AsOnAnAccelerator()] if late else []
    first = trainer("run", TerminateOnNonFinite("roll_back"), Ruin(), notes, Saved(), *more)
    # The sixth batch ruins the weights: a checkpoint is due just then.
    result = first.fit(DataLoader(marked(21), 4), epochs=1)

    assert result.outcome.status == "completed"
    assert notes.rollbacks[0].from_step == 6
    assert 5 in [batch.number for batch in notes.rollbacks[0].left_out]
    assert saved[:2] == ["step-0000000001", "step-0000000003"]


def test_rolling_back_needs_somebody_who_saves() -> None:
    task = tiny_regression()

    with pytest.raises(ConfigurationError, match="no callback saves checkpoints"):
        task.trainer(callbacks=[TerminateOnNonFinite("roll_back")], defaults=False).fit(
            task.train, steps=1
        )


def test_rolling_back_needs_data_that_can_be_begun_anew() -> None:
    batches = iter([[torch.rand(4, 3), torch.rand(4, 1)]])

    with pytest.raises(ConfigurationError, match="passed over once only"):
        trainer("run", TerminateOnNonFinite("roll_back")).fit(batches, steps=1)


@pytest.mark.parametrize("max_rollbacks", [0, 1.5])
def test_max_rollbacks_is_a_count(max_rollbacks: int) -> None:
    with pytest.raises(ConfigurationError, match="max_rollbacks"):
        TerminateOnNonFinite("roll_back", max_rollbacks=max_rollbacks)
