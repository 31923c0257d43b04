from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.recorded_graphs import RecordedGraphs
from trackside import Settings, Trainer
from trackside.callbacks.watching.activation_statistics import (
    ActivationStatistics,
    Moments,
    chosen,
    first_tensor,
)
from trackside.errors import ConfigurationError, ScheduleError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.step import capturing, compiling
from trackside.step.compiling import lacks_compiler
from trackside.trainer.settings import Result

BATCH = 4


class Halves(nn.Module):
    """Passes positive numbers on, and sets a unit to 0 for good."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) * torch.tensor([1.0, 1.0, 1.0, 0.0])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), Halves(), nn.Dropout(0.3), nn.Linear(4, 1))


class Hooks(Callback):
    """Numbers of the steps in whose inside there are hooks, and what is left of them at the end."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.left = 0

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        if hooks_of(run.model):
            self.steps.append(run.progress.steps_completed + 1)

    def on_fit_end(self, run: Run) -> None:
        self.left = hooks_of(run.model)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


weights: list[Tensor] = []
"""Of each run of `fit`, in order."""


def fit(
    *callbacks: Callback, steps: int = 6, step: Any = "eager", model: Any = network, **options: Any
) -> Result:
    inputs = torch.randn(BATCH * 3, 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    trainer = Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, fused=True),
        callbacks=list(callbacks),
        defaults=False,
        seed=0,
        settings=Settings(device="cpu", directory="run", log_every="1 step", step=step),
        **options,
    )
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    result = trainer.fit(data, steps=steps, batch_size=BATCH)
    weights.append(torch.cat([p.detach().flatten() for p in trainer.models["model"].parameters()]))
    return result


def test_values_are_those_of_the_output_by_hand() -> None:
    output = torch.tensor([[0.0, 2.0, -4.0], [0.0, 1.0, 0.0]])
    found = {name: float(value) for name, value in Moments.of(output).values().items()}

    assert found == pytest.approx(
        {
            "mean": float(output.mean()),
            "std": float(output.std(correction=0)),
            "zeros": 3 / 6,
            "dead": 1 / 3,
            "largest": 4.0,
        }
    )


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 3, 4), (6, 4, 2, 2)])
def test_several_calls_make_the_values_of_all_their_outputs(shape: tuple[int, ...]) -> None:
    output = torch.relu(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    parts = [Moments.of(part) for part in output.split(2)]
    together = parts[0].with_(parts[1]).with_(parts[2]).values()

    names = ["mean", "std", "zeros", "largest"] + ["dead"] * (len(shape) > 1)
    for name in names:
        torch.testing.assert_close(together[name], Moments.of(output).values()[name])


def test_channels_are_the_units_of_images() -> None:
    output = torch.ones(2, 4, 3, 3)
    output[:, 1] = 0
    assert float(Moments.of(output).values()["dead"]) == 0.25


def test_a_single_value_has_its_statistics() -> None:
    assert float(Moments.of(torch.tensor(0.0)).values()["dead"]) == 1.0


def test_the_first_tensor_of_floating_values_is_looked_at() -> None:
    wanted = torch.ones(2)
    assert first_tensor({"ids": torch.ones(2, dtype=torch.int64), "out": (None, wanted)}) is wanted
    assert first_tensor([torch.zeros(0), "text"]) is None


def test_values_are_recorded_in_steps_that_are_due() -> None:
    history = fit(ActivationStatistics(["0", "1"], every="2 steps")).history

    assert [step for step, _ in history.points("activation/1/dead")] == [2, 4, 6]
    assert all(0.25 <= value <= 1 for value in history.values("activation/1/dead"))
    assert all(value > 0 for value in history.values("activation/0/std"))


def test_hooks_are_there_in_steps_that_are_due_and_nowhere_else() -> None:
    hooks = Hooks()
    fit(ActivationStatistics(every="3 steps"), hooks)

    assert (hooks.steps, hooks.left) == ([3, 6], 0)


def test_a_step_that_fails_leaves_no_hooks() -> None:
    class Fails(Callback):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            models.append(run.model)
            raise ValueError("a broken step")

    models: list[nn.Module] = []
    with pytest.raises(ValueError, match="a broken step"):
        fit(ActivationStatistics(every="1 step"), Fails())

    assert hooks_of(models[0]) == 0


class Sparse(nn.Module):
    """Gives an output that can't be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.out = nn.Identity(), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.within(x.to_sparse())
        output: Tensor = self.out(x)
        return output


def test_an_output_that_cannot_be_looked_at_leaves_training_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks = Hooks()
    result = fit(ActivationStatistics(every="2 steps"), hooks, model=Sparse)
    fit(model=Sparse)

    assert result.failed_callbacks == {"activation_statistics": 3}
    assert "looking at the output of 'within'" in caplog.text
    assert hooks.left == 0
    assert torch.equal(weights[-1], weights[-2])


def test_training_is_what_it_was_without_it() -> None:
    fit(ActivationStatistics(every="2 steps"))
    fit()

    assert torch.equal(weights[-1], weights[-2])


def test_all_batches_of_a_step_are_in_it() -> None:
    whole = fit(ActivationStatistics(["0"], every="1 step"), steps=1, accumulate=3)
    every = fit(ActivationStatistics(["0"], every="1 step"), steps=3)
    ours = whole.history.values("activation/0/largest")[0]

    # The weights move from step to step: only the first batch is the same to the last bit.
    assert ours >= every.history.values("activation/0/largest")[0]
    assert whole.history.points("activation/0/largest")[0][0] == 1


def test_modules_without_others_inside_are_taken() -> None:
    assert list(chosen({"model": network()}, None)) == ["0", "1", "2", "3"]
    assert list(chosen({"a": nn.Linear(1, 1), "b": network()}, ["b.?"])) == [
        "b.0",
        "b.1",
        "b.2",
        "b.3",
    ]


def test_a_model_that_is_one_module_is_looked_at_itself() -> None:
    assert list(chosen({"model": nn.Linear(1, 1)}, None)) == ["model"]


def test_a_module_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="there is no module 'encodr'") as caught:
        chosen({"model": nn.ModuleDict({"encoder": nn.Linear(1, 1)})}, ["encodr"])
    assert caught.value.option == "modules"
    assert "encoder" in str(caught.value)


@pytest.mark.parametrize(
    ("modules", "said"), [([], "names none"), ("encoder", r"modules=\['encoder'\]")]
)
def test_names_that_are_none_are_refused(modules: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ActivationStatistics(modules)


def test_a_schedule_that_counts_no_steps_is_refused() -> None:
    with pytest.raises(ScheduleError):
        ActivationStatistics(every="1 epoch")


def test_a_captured_step_that_is_due_goes_the_eager_way_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[RecordedGraphs] = []

    def make() -> RecordedGraphs:
        made.append(RecordedGraphs())
        return made[-1]

    monkeypatch.setitem(capturing.GRAPHS, "cpu", make)
    result = fit(ActivationStatistics(every="9 steps"), steps=10, step="captured")
    with_it = made[-1].replays
    fit(steps=10, step="captured")

    assert with_it == made[-1].replays - 1
    assert torch.equal(weights[-1], weights[-2])
    assert [step for step, _ in result.history.points("activation/0/mean")] == [9]


@pytest.mark.skipif(lacks_compiler() is not None, reason=str(lacks_compiler()))
def test_compiled_steps_call_the_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    compiled = fit(ActivationStatistics(["1"], every="3 steps"), step="compiled").history
    eager = fit(ActivationStatistics(["1"], every="3 steps")).history

    assert [step for step, _ in compiled.points("activation/1/zeros")] == [3, 6]
    assert compiled.values("activation/1/zeros") == eager.values("activation/1/zeros")


def test_a_model_that_calls_none_of_them_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class Passes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.used = nn.ReLU(), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.used(x)
            return output

    data = TensorDataset(torch.randn(8, 3), torch.randn(8, 1))
    trainer = Trainer(
        Passes,
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        callbacks=[ActivationStatistics(["unused"], every="1 step")],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.fit(data, steps=2, batch_size=4)

    assert caplog.text.count("no module gave `ActivationStatistics` a tensor") == 1
