"""Compiled steps: those of an eager run to rounding, bitwise the same with listeners and resumes.

Graphs are traced and not compiled here, but for one slow test: what is compiled together, and what
stands between, is the same.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import TensorDataset

from trackside import Callback, Run, Settings, Trainer, UsageError
from trackside.callbacks import EMA, Checkpoint
from trackside.step import compiling
from trackside.step.compiling import CompiledPart, lacks_compiler

pytestmark = pytest.mark.skipif(lacks_compiler() is not None, reason=str(lacks_compiler()))


@pytest.fixture(autouse=True)
def traced_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "slow" not in request.keywords:
        monkeypatch.setattr(compiling, "BACKEND", "eager")


def samples() -> TensorDataset:
    """15 of them: three batches of 5; or three of 4, and a ragged one."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(15, 3, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(2, (15,), generator=generator))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 2)).double()


def fitted(step: Any = "compiled", *, folder: str = "run", **options: Any) -> list[Tensor]:
    """The weights after two epochs."""
    fit = {"epochs": 2, "batch_size": 5} | options.pop("fit", {})
    given: dict[str, Any] = {
        "model": network,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9),
        "defaults": False,
        "seed": 3,
        **options,
    }
    trainer = Trainer(**given, settings=Settings(device="cpu", directory=folder, step=step))
    trainer.fit(fit.pop("train", samples()), **fit)
    return [p.detach().clone() for p in trainer.models["model"].parameters()]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(map(torch.equal, found, expected))


def warmed(optimizer: Any) -> LinearLR:
    return LinearLR(optimizer, 0.1, total_iters=6)


def first_layer(run: Run) -> nn.Linear:
    layer = next(run.model.children())
    assert isinstance(layer, nn.Linear)
    return layer


class Steps(Trainer):
    """A step of its own."""

    def training_step(self, run: Run, batch: Any) -> Any:
        inputs, target = batch
        loss = nn.functional.cross_entropy(run.model(inputs), target, label_smoothing=0.1)
        return {"loss": loss, "weight": float(len(target))}


@pytest.mark.parametrize(
    "options",
    [
        {"fit": {"batch_size": 4}},
        {"clip": 0.05, "scheduler": warmed},
        {"accumulate": 2},
        {"callbacks": [EMA(0.5)], "optimizer": lambda p: torch.optim.RMSprop(p, lr=0.01)},
    ],
    ids=["ragged, dropout", "clip, moving rate", "accumulation", "averages"],
)
def test_weights_are_those_of_eager_steps_to_rounding(options: dict[str, Any]) -> None:
    assert_close(fitted(**options), fitted("eager", **options))


def test_adam_corrects_its_bias_in_single_precision() -> None:
    options: dict[str, Any] = {"optimizer": lambda p: AdamW(p, lr=0.01)}
    compiled, eager = fitted(**options), fitted("eager", **options)
    assert_close(compiled, eager, 1e-5)


def test_a_step_of_the_trainer_s_own_is_compiled(caplog: pytest.LogCaptureFixture) -> None:
    found = []
    for step in ("compiled", "eager"):
        model = network()
        trainer = Steps(
            model,
            optimizer=lambda p: SGD(p, lr=0.1),
            defaults=False,
            seed=3,
            settings=Settings(device="cpu", directory="run", step=step),
        )
        trainer.fit(samples(), epochs=1, batch_size=4)
        found.append([p.detach() for p in model.parameters()])
    assert_close(found[0], found[1])
    assert "can't be compiled" not in caplog.text


class Watching(Callback[Run]):
    """Listens wherever something can stand inside of a step."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.losses: list[float] = []
        self.rates: set[type] = set()

    def on_step_start(self, run: Run) -> None:
        self.seen.append("step")

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.seen.append("batch")

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        assert all(p.grad is None for p in run.model.parameters())
        assert run.output is not None
        self.seen.append("loss")
        self.losses.append(loss.item())

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        assert all(p.grad is not None for p in run.model.parameters())
        self.seen.append("gradients")

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        assert output.prediction.shape == (5, 2)
        self.seen.append("output")

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        self.rates |= {type(group["lr"]) for group in optimizer.param_groups}
        self.seen.append("update")

    def on_zero_grad_end(self, run: Run, optimizer: Any) -> None:
        assert all(p.grad is None for p in run.model.parameters())
        self.seen.append("dropped")


def test_listeners_inside_of_a_step_are_called_in_order_and_change_nothing() -> None:
    watching = Watching()
    alone, watched = fitted(clip=0.05), fitted(clip=0.05, callbacks=[watching])
    assert same(alone, watched)
    order = ["step", "batch", "loss", "gradients", "output", "update", "dropped"]
    assert watching.seen == order * 6
    assert watching.rates == {float}


def test_losses_of_accumulated_batches_are_heard_as_they_go_into_the_gradients() -> None:
    class Hears(Callback[Run]):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def on_backward_start(self, run: Run, loss: Tensor) -> None:
            self.losses.append(float(loss))

    compiled, eager = Hears(), Hears()
    fitted(accumulate=2, callbacks=[compiled], fit={"epochs": 1, "batch_size": 4})
    fitted("eager", accumulate=2, callbacks=[eager], fit={"epochs": 1, "batch_size": 4})

    assert compiled.losses == pytest.approx(eager.losses)


def test_the_run_counts_the_time_of_all_its_compilations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[float] = []

    class Looks(Callback[Run]):
        def on_fit_end(self, run: Run) -> None:
            counted.extend((run.compile_seconds, run.compilations))

    monkeypatch.setattr(CompiledPart, "_count_since", lambda part, began: part._note(1.0))
    fitted(callbacks=[Looks()], optimizer=lambda p: torch.optim.RMSprop(p, lr=0.01))
    assert counted == [2.0, 2]


def test_losses_that_are_kept_are_those_of_their_steps() -> None:
    watching = Watching()
    kept: list[Tensor] = []

    class Keeps(Callback[Run]):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            kept.append(output.loss)

    fitted(callbacks=[watching, Keeps()])
    assert [loss.item() for loss in kept] == watching.losses
    assert len(set(watching.losses)) == 6


def test_a_resumed_run_has_the_same_bits() -> None:
    options: dict[str, Any] = {"scheduler": warmed, "clip": 0.05}
    ragged: dict[str, Any] = {"batch_size": 4}
    whole = fitted(folder="whole", fit=ragged, **options)
    saving: dict[str, Any] = {"callbacks": [Checkpoint(every="3 steps", at_end=False)]}
    fitted(fit={"steps": 4, **ragged}, **options, **saving)
    resumed = fitted(fit={"resume": 3, **ragged}, **options, **saving)
    assert same(resumed, whole)


def test_an_evaluation_in_between_changes_nothing() -> None:
    assert same(fitted(fit={"validation": samples(), "evaluate_every": "1 step"}), fitted())


class Replaces(Callback[Run]):
    """Gives every second batch another shape."""

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        return tuple(part[:2] for part in batch) if run.progress.steps_completed % 2 else batch


class Freezes(Callback[Run]):
    """Freezes a layer in the middle, and lets it go again."""

    def on_step_end(self, run: Run) -> None:
        first_layer(run).requires_grad_(run.progress.steps_completed not in (2, 3))


class ChangesGroup(Callback[Run]):
    """Changes a number of the optimizer that isn't its rate."""

    def on_step_end(self, run: Run) -> None:
        run.optimizer.param_groups[0]["momentum"] = 0.5


@pytest.mark.parametrize("kind", [Replaces, Freezes, ChangesGroup])
def test_what_a_callback_changes_has_its_effect(kind: type[Callback[Run]]) -> None:
    assert_close(fitted(callbacks=[kind()]), fitted("eager", callbacks=[kind()]))


class Skips(Callback[Run]):
    """Leaves out the second update."""

    skips_steps = True

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        if run.progress.steps_completed == 1:
            run.skip_step("asked")


def test_a_skipped_update_is_skipped() -> None:
    assert_close(fitted(callbacks=[Skips()]), fitted("eager", callbacks=[Skips()]))


class EndsEpoch(Callback[Run]):
    """Leaves out all of the first epoch but its first step."""

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 1:
            run.end_epoch("asked")


def test_an_epoch_ends_on_request_as_with_eager_steps() -> None:
    found = fitted(callbacks=[EndsEpoch()])
    assert_close(found, fitted("eager", callbacks=[EndsEpoch()]))
    assert not same(found, fitted("eager"))


class Hooks(Callback[Run]):
    """A hook of torch for a gradient, which no compiled step calls."""

    def on_fit_start(self, run: Run) -> None:
        first_layer(run).weight.register_hook(lambda gradient: 2 * gradient)


def test_a_gradient_with_a_hook_of_torch_is_refused() -> None:
    with pytest.raises(UsageError, match="has a hook of torch"):
        fitted(callbacks=[Hooks()])


class LooksInside(Callback[Run]):
    """A hook of torch for a layer, put there in the middle of the run."""

    seen = 0

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 3:
            first_layer(run).register_forward_hook(self._see)

    def _see(self, *_: Any) -> None:
        self.seen += 1


def test_a_hook_of_a_layer_that_comes_later_is_not_passed_over() -> None:
    looks = LooksInside()
    fitted(callbacks=[looks])
    assert looks.seen >= 3


def test_a_target_that_is_spread_over_all_predictions_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = [(torch.randn(4, 3).double(), torch.randn(4).double())]
    model = nn.Linear(3, 1).double()
    with pytest.warns(UserWarning, match="target size"):
        fitted(model=model, loss=nn.MSELoss(), fit={"train": data, "epochs": 1, "batch_size": None})
    assert "compares each prediction with each target" in caplog.text


def test_a_wrong_loss_is_explained_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    from trackside import LossError

    with pytest.raises(LossError, match="the loss isn't a scalar"):
        fitted(loss=nn.CrossEntropyLoss(reduction="none"))


@pytest.mark.slow
def test_compiled_by_a_compiler_weights_are_equal_to_rounding_and_bitwise_after_a_resume() -> None:
    options: dict[str, Any] = {"scheduler": warmed, "clip": 0.05}
    whole = fitted(folder="whole", **options)
    assert_close(whole, fitted("eager", folder="eager", **options))
    assert same(fitted(folder="watched", callbacks=[Watching()], **options), whole)
    saving: dict[str, Any] = {"callbacks": [Checkpoint(every="3 steps", at_end=False)]}
    fitted(fit={"steps": 4}, **options, **saving)
    assert same(fitted(fit={"resume": 3}, **options, **saving), whole)
