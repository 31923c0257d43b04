"""What Dream Trainer promises its callbacks, kept: one test per promise, by its number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Run, Settings
from trackside import Trainer as NativeTrainer
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects.dream_trainer import (
    TABLE,
    AbstractTrainer,
    BaseTrainer,
    Callback,
    CallbackCollection,
    DreamTrainer,
    EvalMetricMixin,
    QuantizeMixin,
    RankZeroCallback,
    WandBLoggerMixin,
    dependencies,
)
from trackside.errors import MissingRequirementError
from trackside.lifecycle.hooks import CONTEXTS, HOOKS
from trackside.outcome import Status
from trackside.testing import tiny_classification, tiny_regression

Result = dict[str, Any]
CONTEXT_HOOKS = {"train_context", "validation_context"}


def noting(seen: list[Any], *hooks: str) -> Any:
    """A callback that notes its hooks in `seen`."""

    def note(name: str) -> Any:
        def hook(self: Any, *arguments: Any) -> None:
            seen.append(name)

        return hook

    names = hooks or [name for name in TABLE if name not in CONTEXT_HOOKS]
    return type("Noting", (Callback,), {name: note(name) for name in names})()


STEP = [
    "pre_train_step",
    "pre_optimizer_step",
    "post_optimizer_step",
    "pre_optimizer_zero_grad",
    "post_optimizer_zero_grad",
    "post_train_step",
]
EPOCH = [
    "pre_epoch",
    "pre_train_epoch",
    *STEP * 3,
    "pre_validation_epoch",
    *["pre_validation_step", "post_validation_step"] * 2,
    "post_validation_epoch",
    "post_train_epoch",
    "post_epoch",
]
START = ["pre_launch", "pre_configure", "post_configure", "pre_setup", "post_setup", "pre_fit"]


def test_dt_01_there_are_hooks_at_every_stage_in_order() -> None:
    seen: list[str] = []
    fit(noting(seen), epochs=2)

    assert seen == [*START, *EPOCH, *EPOCH, "post_fit"]


def test_dt_02_launch_comes_before_everything_is_there() -> None:
    class Looking(Callback[BaseTrainer]):
        def pre_launch(self) -> None:
            self.models = dict(self.trainer.named_models())

        def post_configure(self) -> None:
            self.configured = set(self.trainer.named_models())

    looking = Looking()
    fit(looking)

    assert looking.models == {}
    assert looking.configured == {"model"}


class Steering(AbstractTrainer):
    """What a trainer of one's own may offer."""

    steer: Any


class SteeringRun(Steering, Run):
    """A run that offers it."""

    def steer(self) -> str:
        return "steered"


class SteeringTrainer(NativeTrainer):
    run_class: ClassVar[type[Run]] = SteeringRun


class NeedsSteering(Callback[Steering]):
    def pre_fit(self) -> None:
        self.answer = self.trainer.steer()


class NeedsBoth(Callback[EvalMetricMixin & Steering]):  # type: ignore[misc]
    pass


def test_dt_03_a_callback_is_refused_where_the_trainer_lacks_what_it_needs() -> None:
    with pytest.raises(MissingRequirementError, match=r"needs a trainer with `Steering` \(`steer`"):
        trainer_of([NeedsSteering()])


def test_dt_03_it_joins_a_trainer_that_has_it_and_uses_it() -> None:
    task = tiny_regression()
    needing = NeedsSteering()
    trainer = SteeringTrainer(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[needing, NeedsBoth()],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.fit(task.train, epochs=1)

    assert needing.answer == "steered"


def test_dt_03_of_two_both_are_needed_and_what_is_missing_is_named() -> None:
    with pytest.raises(MissingRequirementError, match="`Steering`") as caught:
        trainer_of([NeedsBoth()])
    assert "EvalMetricMixin" not in str(caught.value)


def test_dt_03_any_number_of_classes_can_be_joined() -> None:
    class NeedsMany(Callback[EvalMetricMixin & WandBLoggerMixin & QuantizeMixin & Steering]):  # type: ignore[misc]
        pass

    needed = (EvalMetricMixin, WandBLoggerMixin, QuantizeMixin, Steering)
    assert dependencies(NeedsMany) == needed
    with pytest.raises(
        MissingRequirementError, match=r"`QuantizeMixin` \(`quantize_model`\) and `Steering`"
    ):
        trainer_of([NeedsMany()])


def test_dt_03_what_every_run_provides_is_there() -> None:
    class Usual(Callback[DreamTrainer]):
        pass

    class Inherited(Usual):
        pass

    class Unnamed(Callback):
        pass

    assert dependencies(Inherited) == (DreamTrainer,)
    assert dependencies(Unnamed) == ()
    trainer, _ = trainer_of([Usual(), Inherited(), Unnamed()])
    assert trainer.callbacks.names == ("Usual", "Inherited", "Unnamed")


def test_dt_04_a_rank_zero_callback_is_for_rank_zero_only() -> None:
    class Printing(RankZeroCallback[BaseTrainer]):
        calls = 0

        def post_setup(self) -> None:
            self.calls += 1

    printing = Printing()
    trainer, task = trainer_of([printing])
    trainer.fit(task.train, epochs=1)

    assert printing.calls == 1
    assert [callback.rank_zero_only for callback in trainer.callbacks] == [True]


def test_dt_05_a_returned_batch_is_the_one_that_is_trained_on() -> None:
    class Zeroing(Callback[BaseTrainer]):
        def pre_train_step(self, batch: Any, batch_idx: int) -> Any:
            inputs, target = batch
            return [torch.zeros_like(inputs), target]

    class Watching(Callback[BaseTrainer]):
        def __init__(self) -> None:
            self.seen: list[tuple[int, float]] = []

        def pre_train_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.append((batch_idx, float(batch[0].abs().sum())))

    watching = Watching()
    trainer, task = trainer_of([Zeroing(), watching])
    before = task.model.weight.detach().clone()  # type: ignore[operator]
    trainer.fit(task.train, epochs=1)

    assert watching.seen == [(0, 0.0), (1, 0.0), (2, 0.0)]
    assert torch.equal(task.model.weight, before)  # type: ignore[arg-type]


def test_dt_06_gradients_are_final_and_clipping_them_counts() -> None:
    class Clipping(Callback[BaseTrainer]):
        def __init__(self) -> None:
            self.norms: list[float] = []
            self.moved: list[float] = []

        def pre_optimizer_step(self, model: nn.Module, optimizer: Optimizer) -> None:
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            self.norms.append(float(norm))
            self.before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])

        def post_optimizer_step(self, model: nn.Module, optimizer: Optimizer) -> None:
            now = torch.cat([p.detach().flatten() for p in model.parameters()])
            self.moved.append(float((now - self.before).norm()))
            self.rate = optimizer.param_groups[0]["lr"]

    clipping = Clipping()
    trainer, task = trainer_of([clipping])
    trainer.fit(task.train, steps=1)

    assert clipping.norms[0] > 0.01
    assert clipping.moved[0] == pytest.approx(0.01 * 0.1, rel=1e-3)
    assert clipping.rate == 0.1


def test_dt_06_with_several_optimizers_each_comes_with_its_model() -> None:
    class Pairs(Callback[BaseTrainer]):
        def __init__(self) -> None:
            self.pairs: set[tuple[str, str]] = set()

        def pre_optimizer_step(self, model: nn.Module, optimizer: Optimizer) -> None:
            names = self.trainer.get_name_by_model(model)
            self.pairs.add((names, self.trainer.get_name_by_optimizer(optimizer)))

    class Two(NativeTrainer):
        def configure_model(self, run: Any) -> Any:
            return {"one": nn.Linear(2, 2), "two": nn.Linear(2, 1)}

        def configure_optimizers(self, run: Any) -> Any:
            adam = torch.optim.Adam
            return {name: adam(model.parameters()) for name, model in run.models.items()}

        def training_step(self, run: Any, batch: Any) -> Any:
            inputs, target = batch
            return nn.functional.mse_loss(run.models["two"](run.models["one"](inputs)), target)

    pairs = Pairs()
    settings = Settings(device="cpu", directory="run")
    trainer = Two(callbacks=[pairs], defaults=False, settings=settings)
    trainer.fit(tiny_regression().train, steps=1)

    assert pairs.pairs == {("one", "one"), ("two", "two")}


def test_dt_07_contexts_wrap_every_step_of_training_and_validation() -> None:
    seen: list[str] = []

    class Wrapping(Callback[BaseTrainer]):
        @contextlib.contextmanager
        def train_context(self) -> Iterator[None]:
            seen.append("(")
            yield
            seen.append(")")

        @contextlib.contextmanager
        def validation_context(self) -> Iterator[None]:
            seen.append("[")
            yield
            seen.append("]")

        def pre_train_step(self, batch: Any, batch_idx: int) -> None:
            seen.append("t")

    def step(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append("loss")
        return nn.functional.mse_loss(prediction, target)

    fit(Wrapping(), epochs=1, loss=step)

    assert seen == ["(", "t", "loss", ")"] * 3 + ["[", "loss", "]"] * 2


class Stateful(Callback[BaseTrainer]):
    """Counts steps and keeps the best validation loss."""

    def __init__(self) -> None:
        self.steps = 0
        self.best = float("inf")

    def post_train_step(self, result: Result, batch_idx: int) -> None:
        self.steps += 1

    def post_validation_epoch(self, result: Result) -> None:
        self.best = min(self.best, result["val_loss"])

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.best = state_dict["steps"], state_dict["best"]


class StatefulWithTrainer(Stateful):
    """The same; its method takes the trainer too."""

    def load_state_dict(self, state_dict: dict[str, Any], trainer: Any) -> None:  # type: ignore[override]
        super().load_state_dict(state_dict)
        self.loaded_at = trainer.run.mode


@pytest.mark.parametrize("kind", [Stateful, StatefulWithTrainer])
def test_dt_08_state_makes_training_resumable(kind: type[Stateful]) -> None:
    def run(epochs: int, resume: Any = None) -> Stateful:
        callback = kind()
        trainer, task = trainer_of([callback, Checkpoint()])
        trainer.fit(task.train, task.validation, epochs=epochs, resume=resume)
        return callback

    first = run(2)
    second = run(4, "auto")

    assert (first.steps, second.steps) == (6, 12)
    assert second.best <= first.best < float("inf")
    if isinstance(second, StatefulWithTrainer):
        assert second.loaded_at == "fit"


def test_dt_09_a_collection_is_made_of_a_list_and_changed_like_one_and_like_a_dict() -> None:
    first, second, third = Stateful(), StatefulWithTrainer(), RankZeroCallback()
    collection = CallbackCollection([first, ("named", second)])
    collection.append(third)
    collection.append(RankZeroCallback())
    assert list(collection) == ["Stateful", "named", "RankZeroCallback", "RankZeroCallback_2"]

    del collection["RankZeroCallback_2"]
    trainer, _ = trainer_of(collection)

    assert trainer.callbacks.names == ("Stateful", "named", "RankZeroCallback")
    assert list(CallbackCollection({"one": first})) == ["one"]


def test_dt_09_callbacks_are_added_and_removed_after_the_trainer_is_made() -> None:
    trainer, task = trainer_of([])
    late, named, gone = Stateful(), Stateful(), Stateful()
    trainer.callbacks.append(late)
    trainer.callbacks["named"] = named
    trainer.callbacks["gone"] = gone
    del trainer.callbacks["gone"]

    trainer.fit(task.train, epochs=1)

    assert trainer.callbacks.names == ("Stateful", "named")
    assert (late.steps, named.steps, gone.steps) == (3, 3, 0)
    assert late.trainer.global_step == 3


def test_dt_09_a_callback_added_during_training_gets_its_trainer() -> None:
    late = Stateful()

    class Adding(Callback[BaseTrainer]):
        def pre_epoch(self) -> None:
            if self.trainer.current_epoch == 1:
                self.trainer.callbacks.append(late)

    class Leaving(Callback[BaseTrainer]):
        epochs = 0

        def pre_epoch(self) -> None:
            self.epochs += 1
            self.pop_self()

    leaving = Leaving()
    fit(Adding(), leaving, epochs=3)

    assert late.steps == 6
    assert late.trainer.current_epoch == 2
    assert leaving.epochs == 1


def test_dt_10_the_trainer_is_there_in_every_hook_with_its_counters() -> None:
    seen: list[tuple[str, int, int]] = []

    def note(name: str) -> Any:
        def hook(self: Any, *arguments: Any) -> None:
            seen.append((name, self.trainer.current_epoch, self.trainer.global_step))

        return hook

    names = ["pre_fit", "pre_epoch", "post_train_step", "post_train_epoch", "post_epoch"]
    names.append("post_fit")
    fit(type("Noting", (Callback,), {name: note(name) for name in names})())

    assert seen == [
        ("pre_fit", 0, 0),
        ("pre_epoch", 0, 0),
        *[("post_train_step", 0, step) for step in (0, 1, 2)],
        ("post_train_epoch", 0, 3),
        ("post_epoch", 0, 3),
        ("pre_epoch", 1, 3),
        *[("post_train_step", 1, step) for step in (3, 4, 5)],
        ("post_train_epoch", 1, 6),
        ("post_epoch", 1, 6),
        ("post_fit", 2, 6),
    ]


def test_it_is_training_from_the_start_of_an_epoch_to_its_validation() -> None:
    seen: list[tuple[str, bool]] = []

    def note(name: str) -> Any:
        def hook(self: Any, *arguments: Any) -> None:
            seen.append((name, self.trainer.training))

        return hook

    names = ("pre_fit", "pre_epoch", "pre_train_epoch", "post_validation_epoch", "post_epoch")
    fit(type("Noting", (Callback,), {name: note(name) for name in names})(), epochs=1)

    assert seen == [(name, name == "pre_train_epoch") for name in names]


def test_a_hook_of_the_validation_records_no_gradients() -> None:
    class Changing(Callback[BaseTrainer]):
        def post_validation_epoch(self, result: Result) -> None:
            self.trainer.model.weight.zero_()  # type: ignore[operator]

    fit(Changing(), epochs=1)


def test_a_loss_that_is_logged_by_its_bare_name_is_not_mixed_with_that_of_the_run() -> None:
    class Logging(Callback[DreamTrainer]):
        def post_train_step(self, result: Result, batch_idx: int) -> None:
            self.trainer.log_dict({"loss": result["loss"]})

        def post_validation_epoch(self, result: Result) -> None:
            self.trainer.log_dict({"loss": result["loss"]})

    result = fit(Logging(), epochs=1)

    assert result.history.values("logged/train_loss")
    assert result.history.latest("logged/val_loss") == result.history.latest("val/loss")


def test_dt_10_counters_cannot_be_written() -> None:
    class Meddling(Callback[BaseTrainer]):
        def pre_train_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.global_step += 1

    with pytest.raises(AttributeError, match="`global_step` of a `trainer` can't be set"):
        fit(Meddling())


def test_dt_11_results_hold_the_loss() -> None:
    class Looking(Callback[BaseTrainer]):
        def post_train_step(self, result: Result, batch_idx: int) -> None:
            assert float(f"{result['loss']:.4f}") > 0
            assert not result["loss"].requires_grad
            self.step = set(result)

        def post_train_epoch(self, result: Result) -> None:
            self.train = result

        def post_validation_step(self, result: Result, batch_idx: int) -> None:
            self.validation_step = float(result["loss"])

        def post_validation_epoch(self, result: Result) -> None:
            self.validation = result

    looking = Looking()
    result = fit(looking, epochs=1, task=tiny_classification())

    latest = result.history.latest
    assert looking.step == {"loss", "prediction", "target"}
    assert looking.train == {"loss": latest("train/loss")}
    assert looking.validation_step > 0
    assert looking.validation == {
        "loss": latest("val/loss"),
        "val_loss": latest("val/loss"),
        "accuracy": latest("val/accuracy"),
        "val_accuracy": latest("val/accuracy"),
    }


class Holding(Callback[BaseTrainer]):
    """Holds a file open while training goes on."""

    closed = 0

    def pre_fit(self) -> None:
        self.file = Path("log.txt").open("w")  # noqa: SIM115 - the point of it

    def post_fit(self) -> None:
        self.file.close()
        self.closed += 1


@pytest.mark.parametrize("hook", ["pre_epoch", "post_train_step", "post_validation_epoch"])
def test_dt_12_what_was_opened_is_closed_when_training_raises(hook: str) -> None:
    def failing(self: Any, *arguments: Any) -> None:
        raise ValueError("no")

    holding = Holding()
    seen: list[str] = []
    with pytest.raises(ValueError, match="no"):
        fit(holding, type("Failing", (Callback,), {hook: failing})(), noting(seen, "on_interrupt"))

    assert holding.file.closed
    assert holding.closed == 1
    assert seen == ["on_interrupt"]


def test_dt_12_an_error_in_the_model_closes_it_too() -> None:
    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    holding = Holding()
    with pytest.raises(ValueError, match="no"):
        fit(holding, loss=loss)

    assert holding.file.closed


def test_dt_13_the_world_reduces_and_knows_rank_zero() -> None:
    class Reducing(Callback[BaseTrainer]):
        def post_train_epoch(self, result: Result) -> None:
            world = self.trainer.world
            self.mean = world.all_reduce(result["loss"], op="mean")
            self.zero = world.is_global_zero

    reducing = Reducing()
    result = fit(reducing, epochs=1)

    assert reducing.mean == result.history.latest("train/loss")
    assert reducing.zero is True


def test_dt_14_an_epoch_encloses_its_training_and_its_validation() -> None:
    seen: list[str] = []
    fit(noting(seen, "pre_epoch", "post_epoch", "pre_train_epoch", "post_validation_epoch"))

    epoch = ["pre_epoch", "pre_train_epoch", "post_validation_epoch", "post_epoch"]
    assert seen == epoch * 2


def test_dt_15_only_what_is_overridden_is_listened_to() -> None:
    class Quiet(Callback[BaseTrainer]):
        def post_epoch(self) -> None: ...

    trainer, _ = trainer_of([Quiet()])

    per_step = {n for n, h in HOOKS.items() if {"on_step_start", "on_batch_start"} & set(h.inside)}
    per_step |= {"on_step_start", "on_step_end", *CONTEXTS}
    assert per_step & set(trainer.callbacks.table()) == set()
    assert trainer.callbacks.order("step_context") == []


# --- the table, the view -----------------------------------------------------------------------


def test_no_hook_is_missing_from_the_table() -> None:
    others = {"state_dict", "load_state_dict", "pop_self"}
    assert hooks_of(Callback) - set(TABLE) == others
    carriers = {hook for row in TABLE.values() for hook in row.carriers}
    assert carriers <= {*HOOKS, *CONTEXTS}


def test_metrics_of_the_last_evaluation_are_there_by_name() -> None:
    class Logging(Callback[EvalMetricMixin & WandBLoggerMixin]):  # type: ignore[misc]
        def pre_fit(self) -> None:
            assert self.trainer.named_metrics() == {}

        def post_validation_epoch(self, result: Result) -> None:
            for name, metric in self.trainer.named_metrics().items():
                self.trainer.log_scalar(f"again/{name}", metric.compute())
            self.trainer.log_dict({"more/two": 2.0})

    result = fit(Logging(), epochs=2, task=tiny_classification())

    history = result.history
    assert history.values("again/accuracy") == pytest.approx(history.values("val/accuracy"))
    assert history.values("more/two") == [2.0, 2.0]


def test_the_view_shows_what_their_documents_show() -> None:
    class Looking(Callback[DreamTrainer]):
        def pre_fit(self) -> None:
            trainer = self.trainer
            self.seen = (
                trainer.experiment,
                set(trainer.named_models()),
                set(trainer.named_optimizers()),
                trainer.named_schedulers(),
                trainer.get_module("model") is trainer.model,
                trainer.seed,
                trainer.local_batches,
                trainer.training,
                len(trainer.train_dataloader),
                trainer.val_dataloader is not None,
                trainer.config["precision"],
                trainer.device.type,
            )

    looking = Looking()
    fit(looking)

    assert looking.seen == (
        "run",
        {"model"},
        {"optimizer"},
        {},
        True,
        0,
        0,
        False,
        3,
        True,
        "fp32",
        "cpu",
    )


@pytest.mark.parametrize(
    ("attribute", "way"),
    [("fit", "run.stop"), ("named_model", "did you mean `named_models`")],
)
def test_an_unknown_attribute_names_dialect_attribute_and_native_way(
    attribute: str, way: str
) -> None:
    class Asking(Callback[BaseTrainer]):
        def pre_fit(self) -> None:
            getattr(self.trainer, attribute)

    with pytest.raises(AttributeError, match=f"dream_trainer.*`{attribute}`") as caught:
        fit(Asking())
    assert caught.match(way)


def test_a_misspelt_hook_is_told_when_the_callback_joins() -> None:
    class Misspelt(Callback[BaseTrainer]):
        def pre_train_steps(self, batch: Any, batch_idx: int) -> None: ...

    with pytest.warns(UserWarning, match="Did you mean `pre_train_step`"):
        trainer_of([Misspelt()])


def test_a_failing_run_of_theirs_tells_the_hook() -> None:
    class Failing(Callback[BaseTrainer]):
        def pre_validation_step(self, batch: Any, batch_idx: int) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        fit(Failing())

    assert "in `pre_validation_step` of the dream_trainer callback `Failing`" in "".join(
        caught.value.__notes__
    )
    assert Status.FAILED
