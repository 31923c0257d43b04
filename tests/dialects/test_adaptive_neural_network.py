"""What the adaptive neural network promises its callbacks, kept: a test per promise, by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Callback as Native
from trackside import Settings
from trackside.dialects import state_file
from trackside.dialects.adaptive_neural_network import TABLE, Callback, CallbackList
from trackside.dialects.adaptive_neural_network import Trainer as View
from trackside.errors import UsageError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.testing import tiny_regression

Logs = dict[str, Any] | None


class Order(Callback):
    """Notes every hook with its number, in a list that several may share."""

    def __init__(self, seen: list[Any] | None = None, name: str = "") -> None:
        self.seen = [] if seen is None else seen
        self.name = name

    def note(self, *what: Any) -> None:
        self.seen.append((*what, self.name) if self.name else what[0] if len(what) == 1 else what)

    def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
        self.note("train_begin")

    def on_epoch_begin(self, epoch: int, trainer: View, logs: Logs = None) -> None:
        self.note("epoch_begin", epoch)

    def on_batch_begin(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
        self.note("batch_begin", batch_idx)

    def on_backward_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
        self.note("backward_end", batch_idx)

    def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
        self.note("batch_end", batch_idx)

    def on_evaluate_begin(self, trainer: View, logs: Logs = None) -> None:
        self.note("evaluate_begin")

    def on_evaluate_end(self, trainer: View, logs: Logs = None) -> None:
        self.note("evaluate_end")

    def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
        self.note("epoch_end", epoch)

    def on_train_end(self, trainer: View, logs: Logs = None) -> None:
        self.note("train_end")


def batch(number: int) -> list[Any]:
    return [("batch_begin", number), ("backward_end", number), ("batch_end", number)]


def epoch(number: int, *, evaluated: bool = True) -> list[Any]:
    evaluation = ["evaluate_begin", "evaluate_end"] if evaluated else []
    batches = [*batch(0), *batch(1), *batch(2)]
    return [("epoch_begin", number), *batches, *evaluation, ("epoch_end", number)]


def test_an_01_hooks_come_in_the_order_of_the_lifecycle() -> None:
    order = Order()
    fit(order)

    assert order.seen == ["train_begin", *epoch(0), *epoch(1), "train_end"]


def test_an_01_without_validation_there_are_no_hooks_of_one() -> None:
    order = Order()
    fit(order, epochs=1, validate=False)

    assert order.seen == ["train_begin", *epoch(0, evaluated=False), "train_end"]


def test_an_01_accumulated_batches_have_their_hooks_too() -> None:
    order = Order()
    fit(order, epochs=1, accumulate=2)

    assert order.seen == ["train_begin", *epoch(0), "train_end"]


def test_an_02_gradients_changed_after_the_backward_pass_are_applied() -> None:
    class Zeroing(Callback):
        def on_backward_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            for parameter in trainer.model.parameters():
                assert parameter.grad is not None
                assert parameter.grad.abs().sum() > 0
                parameter.grad.zero_()

    trainer, task = trainer_of([Zeroing()])
    before = task.weights
    trainer.fit(task.train, epochs=1)

    assert torch.equal(task.weights, before)


def test_an_02_gradients_of_half_precision_are_not_scaled_and_clipping_them_counts() -> None:
    class Clipping(Callback):
        def __init__(self) -> None:
            self.norms: list[float] = []

        def on_backward_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 0.01)
            self.norms.append(float(norm))

    clipping = Clipping()
    task = tiny_regression()
    task.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    trainer, _ = trainer_of([clipping], task=task, precision="bf16")
    before = task.weights
    trainer.fit(task.train, steps=1)

    assert 0.01 < clipping.norms[0] < 100
    assert float((task.weights - before).norm()) == pytest.approx(0.01 * 0.1, rel=1e-2)


def test_an_03_the_batch_ends_after_the_update() -> None:
    class Comparing(Callback):
        def __init__(self) -> None:
            self.moved: list[bool] = []

        def on_backward_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            self.before = trainer.model.weight.detach().clone()  # type: ignore[operator]

        def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            self.moved.append(not torch.equal(trainer.model.weight, self.before))  # type: ignore[arg-type]

    one, two = Comparing(), Comparing()
    fit(one, epochs=1)
    fit(two, epochs=1, accumulate=2)

    assert one.moved == [True, True, True]
    assert two.moved == [False, True, True]


def test_an_04_epoch_logs_hold_the_validation_and_a_checkpoint_can_be_saved() -> None:
    class Saving(Callback):
        def __init__(self) -> None:
            self.logs: list[Logs] = []

        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            self.logs.append(logs)
            trainer.save_checkpoint(f"saved/{epoch}.pt")

    saving = Saving()
    trainer, task = trainer_of([saving])
    result = trainer.fit(task.train, task.validation, epochs=2)

    names = {"train_loss", "val_loss"}
    assert [set(logs or ()) for logs in saving.logs] == [names, names]
    assert [logs and logs["val_loss"] for logs in saving.logs] == result.history.values("val/loss")
    state = state_file.read("saved/1.pt")
    assert torch.equal(state["model"]["weight"], task.model.weight)  # type: ignore[arg-type]
    assert state["epoch"] == 1
    assert [row["val_loss"] for row in state["metrics_history"]] == result.history.values(
        "val/loss"
    )


def test_an_04_without_validation_there_is_no_val_loss() -> None:
    class Looking(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            assert logs is not None
            self.names = set(logs)

    looking = Looking()
    fit(looking, validate=False)

    assert looking.names == {"train_loss"}


def test_an_05_epochs_and_model_are_there_in_every_hook() -> None:
    class Everywhere(Order):
        def note(self, *what: Any) -> None:
            self.seen.append(what[0])

    seen: list[tuple[int, bool]] = []

    def looking(name: str) -> Any:
        def hook(self: Any, *arguments: Any, **_: Any) -> None:
            trainer = next(a for a in arguments if isinstance(a, View))
            seen.append((trainer.num_epochs, isinstance(trainer.model, torch.nn.Linear)))

        return hook

    callback = type("Looking", (Callback,), {name: looking(name) for name in TABLE})()
    fit(callback, epochs=3)

    assert len(seen) > 9
    assert set(seen) == {(3, True)}


def test_an_05_the_number_of_epochs_follows_from_a_limit_in_steps() -> None:
    class Looking(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            self.epochs = trainer.num_epochs

    looking = Looking()
    trainer, task = trainer_of([looking])
    trainer.fit(task.train, steps=7)

    assert looking.epochs == 3


def test_an_06_each_hook_is_finished_for_all_before_the_next_begins() -> None:
    seen: list[Any] = []
    fit(Order(seen, "first"), Order(seen, "second"), Order(seen, "third"), accumulate=2)

    for place in range(0, len(seen), 3):
        event = seen[place][:-1]
        assert seen[place : place + 3] == [
            (*event, "first"),
            (*event, "second"),
            (*event, "third"),
        ]


def test_an_06_callbacks_of_both_kinds_run_in_one_order() -> None:
    seen: list[str] = []

    class Ours(Native):
        def __init__(self, name: str) -> None:
            self.title = name

        def on_epoch_start(self, run: Any) -> None:
            seen.append(self.title)

    class Theirs(Callback):
        def on_epoch_begin(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            seen.append("theirs")

    fit(Ours("before"), Theirs(), Ours("after"), epochs=1)

    assert seen == ["before", "theirs", "after"]


def test_an_07_logs_may_be_none_or_lack_keys() -> None:
    kinds: dict[str, Any] = {}

    class Looking(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            kinds["train_begin"] = logs

        def on_epoch_begin(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            kinds["epoch_begin"] = logs

        def on_evaluate_begin(self, trainer: View, logs: Logs = None) -> None:
            kinds["evaluate_begin"] = logs

        def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            assert logs is not None
            kinds["missing"] = logs.get("accuracy", "none")

        def on_train_end(self, trainer: View, logs: Logs = None) -> None:
            kinds["train_end"] = logs

    fit(Looking())

    assert kinds.pop("missing") == "none"
    assert set(kinds.values()) == {None}


def test_an_08_setting_the_flag_ends_training() -> None:
    class Stopping(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            if epoch == 1:
                trainer.stop_training = True
                assert trainer.stop_training

    order = Order()
    result = fit(Stopping(), order, epochs=9)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.asked_by == "Stopping"
    assert order.seen == ["train_begin", *epoch(0), *epoch(1), "train_end"]


def test_an_08_within_an_epoch_the_flag_ends_training_after_the_step() -> None:
    class Stopping(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            trainer.stop_training = False

        def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            trainer.stop_training = True

    assert fit(Stopping(), epochs=9).outcome.step == 1


def test_an_09_a_callback_needs_no_base_constructor() -> None:
    class Forgetful(Callback):
        def __init__(self) -> None:
            self.calls = 0

        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            self.calls += 1

    forgetful = Forgetful()
    fit(forgetful)

    assert forgetful.calls == 2


class Writing(Callback):
    """Holds a file open while training goes on."""

    closed = 0

    def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
        self.file = Path("notes.txt").open("w")  # noqa: SIM115 - the point of it

    def on_train_end(self, trainer: View, logs: Logs = None) -> None:
        self.file.close()
        self.closed += 1


def test_an_10_what_is_opened_is_closed_at_the_end_once() -> None:
    writing = Writing()
    fit(writing)

    assert writing.file.closed
    assert writing.closed == 1


def test_an_10_what_is_opened_is_closed_when_training_raises() -> None:
    class Failing(Callback):
        def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            raise ValueError("disk full")

    writing = Writing()
    with pytest.raises(ValueError, match="disk full") as caught:
        fit(writing, Failing())

    assert writing.file.closed
    assert writing.closed == 1
    assert any("on_batch_end" in note for note in caught.value.__notes__)


def test_an_10_nothing_is_closed_that_was_not_opened() -> None:
    class Refusing(Native):
        def on_setup_end(self, run: Any) -> None:
            raise ValueError("too early")

    writing = Writing()
    with pytest.raises(ValueError, match="too early"):
        fit(writing, Refusing())

    assert writing.closed == 0


def test_an_11_callbacks_of_the_usual_kinds_run() -> None:
    """Early stopping, a scheduler, trackers and best checkpoints, written anew; the originals are
    run from the document by test_seed_documents.py."""
    sent: list[tuple[int, dict[str, float]]] = []

    class Patience(Callback):
        def __init__(self, patience: int) -> None:
            self.patience, self.best, self.bad = patience, float("inf"), 0

        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            value = (logs or {}).get("val_loss")
            self.bad = 0 if value is not None and value < self.best else self.bad + 1
            self.best = min(self.best, value or self.best)
            if self.bad > self.patience:
                trainer.stop_training = True

    class Scheduling(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            trainer.optimizer.param_groups[0]["lr"] *= 2

    class Sending(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            sent.append((epoch, {**(logs or {})}))

    class Best(Callback):
        best = float("inf")

        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            if logs and logs["val_loss"] < self.best:
                self.best = logs["val_loss"]
                trainer.save_checkpoint("best.pt")

    best = Best()
    result = fit(Patience(1), Scheduling(), Sending(), best, epochs=30)

    values = result.history.values("val/loss")
    assert result.outcome.status is Status.STOPPED
    assert result.outcome.asked_by == "Patience"
    assert [logs["val_loss"] for _, logs in sent] == values
    assert best.best == min(values)
    assert Path("best.pt").is_file()


def test_an_12_epochs_and_batches_are_counted_from_0() -> None:
    order = Order()
    fit(order, epochs=1)

    assert order.seen[1:3] == [("epoch_begin", 0), ("batch_begin", 0)]


# --- the table, the view, the logs -------------------------------------------------------------


def test_no_hook_is_missing_from_the_table() -> None:
    assert hooks_of(Callback) == set(TABLE)
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_a_list_of_theirs_is_taken_as_it_is() -> None:
    callbacks = CallbackList([Order()])
    callbacks.append(Writing())

    trainer, _ = trainer_of(callbacks)

    assert trainer.callbacks.names == ("Order", "Writing")
    assert len(callbacks) == 2


def test_batch_logs_hold_size_and_loss() -> None:
    seen: list[dict[str, Any]] = []

    class Looking(Callback):
        def on_batch_begin(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            seen.append(dict(logs or {}))

        def on_batch_end(self, batch_idx: int, trainer: View, logs: Logs = None) -> None:
            seen.append(dict(logs or {}))

    fit(Looking(), epochs=1)

    assert [logs["batch_size"] for logs in seen] == [4, 4, 4, 4, 2, 2]
    assert [sorted(logs) for logs in seen[:2]] == [["batch_size"], ["batch_size", "loss"]]


def test_what_one_callback_writes_into_the_logs_the_next_one_reads() -> None:
    class Adding(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            assert logs is not None
            logs["extra"] = epoch * 10

    class Reading(Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            assert logs is not None
            self.seen.append(logs["extra"])

    reading = Reading()
    fit(Adding(), reading)

    assert reading.seen == [0, 10]


def test_a_checkpoint_is_loaded_with_the_optimizer() -> None:
    class Saving(Callback):
        def on_train_end(self, trainer: View, logs: Logs = None) -> None:
            trainer.save_checkpoint("end.pt")

    class Loading(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            self.epoch = trainer.load_checkpoint("end.pt")["epoch"]
            momentum = next(iter(trainer.optimizer.state.values()))["momentum_buffer"]
            self.momentum = momentum.clone()

    trainer, task = trainer_of([Saving()])
    trainer.fit(task.train, epochs=2)
    loading = Loading()
    again, other = trainer_of([loading], task=tiny_regression(seed=1))
    again.fit(other.train, epochs=0, steps=0)

    assert loading.epoch == 1
    assert loading.momentum.abs().sum() > 0
    assert torch.equal(other.weights, task.weights)


@pytest.mark.parametrize(
    ("attribute", "way"),
    [("criterion", r"Trainer\(loss=...\)"), ("nmu_epochs", "did you mean `num_epochs`")],
)
def test_an_unknown_attribute_names_dialect_attribute_and_native_way(
    attribute: str, way: str
) -> None:
    class Asking(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            getattr(trainer, attribute)

    with pytest.raises(AttributeError, match=f"adaptive_neural_network.*{attribute}") as caught:
        fit(Asking())
    assert caught.match(way)


def test_an_attribute_that_is_known_to_mean_something_cannot_be_set_to_no_effect() -> None:
    class Setting(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            trainer.max_grad_norm = 1.0

    with pytest.raises(AttributeError, match=r"Trainer\(clip=1.0\)"):
        fit(Setting())


def test_a_stop_cannot_be_taken_back() -> None:
    class Wavering(Callback):
        def on_epoch_end(self, epoch: int, trainer: View, logs: Logs = None) -> None:
            trainer.stop_training = True
            trainer.stop_training = False

    with pytest.raises(UsageError, match="can't be taken back"):
        fit(Wavering())


def test_a_run_without_a_known_number_of_epochs_says_so() -> None:
    class Asking(Callback):
        def on_train_begin(self, trainer: View, logs: Logs = None) -> None:
            _ = trainer.num_epochs

    trainer, task = trainer_of([Asking()], settings=Settings(device="cpu"))
    with pytest.raises(UsageError, match="isn't known"):
        trainer.fit((b for b in list(task.train)), steps=1)
