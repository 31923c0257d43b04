"""Captured steps have the bits of the eager way, whatever stands around them.

On the CPU, by a stand-in that records operations and repeats them: its memory is fixed and Python
is frozen, as with a CUDA graph. The last tests are run where there is CUDA.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LinearLR
from torch.utils._pytree import tree_leaves
from torch.utils.data import TensorDataset

from tests.device import NAME
from tests.recorded_graphs import RecordedGraphs
from trackside import Callback, Output, Run, Settings, Trainer
from trackside.callbacks import EMA, Checkpoint, TerminateOnNonFinite
from trackside.step import capturing

STEPS = 12
EAGER = 4
"""The first step, after which the trainer has looked at a batch, and three of the same form."""


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraphs]:
    """The stand-in in place of CUDA; those that were made."""
    made: list[RecordedGraphs] = []

    def make() -> RecordedGraphs:
        made.append(RecordedGraphs())
        return made[-1]

    monkeypatch.setitem(capturing.GRAPHS, "cpu", make)
    return made


class Noisy(nn.Module):
    """Draws from a generator of its own, and multiplies with a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        noise = torch.empty_like(x).normal_(generator=self.generator)
        return x * self.factor + 0.1 * noise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.2), Noisy(), nn.Linear(4, 2)
    )


def samples() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(18, 3, generator=generator)
    return TensorDataset(inputs, torch.randint(2, (18,), generator=generator))


def momentum(parameters: Any, lr: Any = 0.1) -> SGD:
    return SGD(parameters, lr=lr, momentum=0.9, fused=True)


def fitted(
    step: Any = "captured",
    *,
    kind: type[Trainer] = Trainer,
    folder: str = "run",
    callbacks: Any = (),
    **options: Any,
) -> list[Tensor]:
    """Weights and buffers after twelve steps."""
    fit = {"epochs": 4, "batch_size": 6} | options.pop("fit", {})
    given: dict[str, Any] = {
        "model": network,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": momentum,
        "defaults": False,
        "seed": 3,
        **options,
    }
    settings = Settings(device="cpu", directory=folder, step=step, log_every="5 steps")
    trainer = kind(**given, callbacks=callbacks, settings=settings)
    trainer.fit(samples(), **fit)
    return [t.detach().clone() for t in trainer.models["model"].state_dict().values()]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(map(torch.equal, found, expected))


class Listens(Callback[Run]):
    """Hears the end of each batch: every step then goes the eager way."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Nothing."""


def agree(
    recorded: list[RecordedGraphs],
    callbacks: Callable[[], list[Callback[Any]]] = list,
    **options: Any,
) -> RecordedGraphs:
    """Hold a run with graphs to one whose steps all go the eager way; return its graphs."""
    fast = fitted(callbacks=callbacks(), **options)
    graphs = recorded[-1]
    eager = fitted(callbacks=[*callbacks(), Listens()], folder="eager", **options)
    assert recorded[-1].captures == 0
    assert same(fast, eager)
    return graphs


def warmed(optimizer: Any) -> LinearLR:
    return LinearLR(optimizer, 0.1, total_iters=10)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scheduler": warmed, "clip": 0.05},
        {"optimizer": lambda p: AdamW(p, lr=0.01, fused=True), "scheduler": warmed},
        {"precision": "bf16"},
    ],
    ids=["draws", "moving rate, clip", "adamw", "bf16"],
)
def test_replayed_steps_have_the_bits_of_the_eager_way(
    recorded: list[RecordedGraphs], options: dict[str, Any]
) -> None:
    graphs = agree(recorded, **options)
    assert (graphs.captures, graphs.replays) == (1, STEPS - EAGER)


def test_they_have_those_of_an_eager_run_whose_rate_is_a_tensor_too() -> None:
    def tensor(parameters: Any) -> SGD:
        return momentum(parameters, torch.tensor(0.1))

    assert same(fitted(), fitted("eager", optimizer=tensor))


@pytest.mark.parametrize("saved_at", [2, 4, 7], ids="before step {}".format)
def test_steps_after_a_checkpoint_are_noted_however_they_are_taken(
    tmp_path: Path, saved_at: int
) -> None:
    """Eager, the one that is recorded, and repeated ones."""
    folder = str(tmp_path)
    fitted(folder=folder, callbacks=[Checkpoint(f"{saved_at} steps", keep_last=None)])

    [file] = (tmp_path / "checkpoints").glob("following.*.jsonl")
    notes = [json.loads(line) for line in file.read_text().splitlines()]
    first = sorted(
        (note for note in notes if note["after"].startswith(f"{saved_at}:")),
        key=lambda note: note["step"],  # threads write them, in any order
    )
    assert [note["step"] for note in first] == [saved_at + 1, saved_at + 2, saved_at + 3]
    assert [(len(note["contents"]), len(note["losses"])) for note in first] == [(1, 1)] * 3


def test_each_shape_has_a_graph_and_ragged_batches_too(recorded: list[RecordedGraphs]) -> None:
    graphs = agree(recorded, fit={"batch_size": 5, "epochs": 6})
    assert graphs.captures == 2
    assert graphs.replays == (3 * 6 - EAGER) + (6 - 3)


def test_averages_are_those_of_eager_steps(recorded: list[RecordedGraphs]) -> None:
    averages: list[dict[str, Any]] = []

    class Keeps(Callback[Run]):
        def on_fit_end(self, run: Run) -> None:
            averages.append(run.callbacks["ema"].state_dict())

    agree(recorded, lambda: [EMA(0.5), Keeps()])
    first, second = (tree_leaves(one) for one in averages)
    assert [str(one) for one in first] == [str(one) for one in second]


class OfTokens(Trainer):
    """Counts the positive inputs of each batch on the device."""

    def training_step(self, run: Run, batch: Any) -> Output:
        output = super().training_step(run, batch)
        assert isinstance(output, Output)
        return output._replace(tokens=(batch[0] > 0).sum())


def test_tokens_are_counted_in_replayed_steps_too(recorded: list[RecordedGraphs]) -> None:
    counted: list[int] = []

    class Keeps(Callback[Run]):
        def on_fit_end(self, run: Run) -> None:
            counted.append(run.progress.tokens_completed)

    assert agree(recorded, lambda: [Keeps()], kind=OfTokens).replays == STEPS - EAGER
    in_all = int((samples().tensors[0] > 0).sum())
    assert counted == [4 * in_all] * 2


def test_accumulated_steps_go_the_eager_way(recorded: list[RecordedGraphs]) -> None:
    assert agree(recorded, accumulate=2).captures == 0


def test_evaluations_in_between_change_nothing(recorded: list[RecordedGraphs]) -> None:
    fit = {"validation": samples(), "evaluate_every": "1 step"}
    assert agree(recorded, fit=fit).replays == STEPS - EAGER
    assert same(fitted(fit=fit), fitted())


class Replaces(Callback[Run]):
    """Gives every second batch another sign."""

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        return (-batch[0], batch[1]) if run.progress.steps_completed % 2 else batch


def test_a_batch_that_a_callback_replaces_goes_the_eager_way(
    recorded: list[RecordedGraphs],
) -> None:
    assert agree(recorded, lambda: [Replaces()]).captures == 0


def test_a_guard_that_looks_at_each_step_is_heard(recorded: list[RecordedGraphs]) -> None:
    assert agree(recorded, lambda: [TerminateOnNonFinite()]).captures == 0


def layer(run: Run, index: int) -> Any:
    return list(run.model.children())[index]


def at_step_six(change: Callable[[Run], None]) -> type[Callback[Run]]:
    class Changes(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 6:
                change(run)

    return Changes


def freeze(run: Run) -> None:
    layer(run, 0).requires_grad_(False)


def change_group(run: Run) -> None:
    run.optimizer.param_groups[0]["momentum"] = 0.2


def change_rate(run: Run) -> None:
    run.optimizer.param_groups[0]["lr"] = 0.02


def change_number(run: Run) -> None:
    layer(run, 4).factor = 3.0


def change_probability(run: Run) -> None:
    layer(run, 3).p = 0.6


def stop_batch_norm(run: Run) -> None:
    layer(run, 1).eval()


def replace_memory(run: Run) -> None:
    weight = layer(run, 0).weight
    weight.data = weight.data * 0.5


def replace_state(run: Run) -> None:
    state = run.optimizer.state_dict()
    run.optimizer.load_state_dict(
        {
            **state,
            "state": {k: {n: 0.5 * t for n, t in s.items()} for k, s in state["state"].items()},
        }
    )


@pytest.mark.parametrize(
    ("change", "captures"),
    [
        (freeze, 2),
        (change_group, 2),
        (change_rate, 1),
        (change_number, 2),
        (change_probability, 2),
        (stop_batch_norm, 2),
        (replace_memory, 2),
        (replace_state, 2),
    ],
)
def test_what_changes_in_the_middle_has_its_effect(
    recorded: list[RecordedGraphs], change: Callable[[Run], None], captures: int
) -> None:
    assert agree(recorded, lambda: [at_step_six(change)()]).captures == captures


def test_a_hook_of_a_layer_that_comes_later_is_called_in_each_step() -> None:
    seen: list[int] = []

    def watch(run: Run) -> None:
        layer(run, 0).register_forward_hook(lambda *_: seen.append(1))

    fitted(callbacks=[at_step_six(watch)()])
    assert len(seen) == STEPS - 6


def test_a_callback_that_joins_in_the_middle_hears_the_steps_from_then_on() -> None:
    seen: list[int] = []

    class Hears(Callback[Run]):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            seen.append(run.progress.steps_completed)

    fitted(callbacks=[at_step_six(lambda run: run.callbacks.append(Hears()))()])
    assert seen == list(range(6, STEPS))


def test_a_skipped_step_and_a_changed_window_go_the_eager_way(
    recorded: list[RecordedGraphs],
) -> None:
    class Asks(Callback[Run]):
        skips_steps = True

        def on_step_start(self, run: Run) -> None:
            if run.progress.steps_completed == 5:
                run.skip_step("asked")

    assert agree(recorded, lambda: [Asks()]).replays == STEPS - EAGER - 1


def test_an_epoch_ends_on_request_as_with_eager_steps(recorded: list[RecordedGraphs]) -> None:
    class Ends(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 7:  # the first of an epoch, by a graph
                run.end_epoch("asked")

    assert agree(recorded, lambda: [Ends()]).replays == STEPS - EAGER - 2


def test_torch_lets_a_fused_optimizer_be_recorded(
    recorded: list[RecordedGraphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA, Adam refuses to be recorded unless its groups are `capturable`."""
    seen: list[Any] = []
    capture, step = RecordedGraphs.capture, AdamW.step
    recording = False

    def noted(self: RecordedGraphs, *arguments: Any) -> Any:
        nonlocal recording
        recording = True
        try:
            return capture(self, *arguments)
        finally:
            recording = False

    def checked(self: AdamW, *arguments: Any) -> Any:
        seen.append((recording, self.param_groups[0]["capturable"]))
        return step(self, *arguments)

    monkeypatch.setattr(RecordedGraphs, "capture", noted)
    monkeypatch.setattr(AdamW, "step", checked)
    fitted(optimizer=lambda p: AdamW(p, lr=0.01, fused=True))

    assert seen == [(False, False)] * EAGER + [(True, True)]


def test_losses_that_are_kept_are_copies(recorded: list[RecordedGraphs]) -> None:
    values: list[list[float]] = []

    class Keeps(Callback[Run]):
        def on_fit_end(self, run: Run) -> None:
            values.append(run.history.values("train/loss"))

    # Nine steps in an epoch: the losses of several replays wait together for the mean.
    agree(recorded, lambda: [Keeps()], fit={"batch_size": 2, "epochs": 2})
    assert values[0] == values[1]
    assert len(set(values[0])) == 2


def test_groups_hold_numbers_for_all_others() -> None:
    kinds: set[type] = set()

    class Looks(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            kinds.add(type(run.optimizer.param_groups[0]["lr"]))

    fitted(callbacks=[Looks()], scheduler=warmed)
    assert kinds == {float}


@pytest.mark.parametrize("at", [2, 8])
def test_a_resumed_run_has_the_same_bits(at: int) -> None:
    saving: dict[str, Any] = {
        "callbacks": [Checkpoint(every=f"{at} steps", at_end=False)],
        "scheduler": warmed,
    }
    ready: dict[str, Any] = {
        "model": lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 2))
    }
    whole = fitted(folder="whole", **saving, **ready)
    fitted(fit={"steps": at + 1}, **saving, **ready)
    assert same(fitted(fit={"resume": at}, **saving, **ready), whole)


# --- steps that break a rule ---------------------------------------------------------------------


class Reads(Trainer):
    """Looks at a value in its step."""

    def training_step(self, run: Run, batch: Any) -> Any:
        loss = nn.functional.cross_entropy(run.model(batch[0]), batch[1])
        return loss * 2 if loss.item() > 0 else loss


class Logs(Trainer):
    """Logs in its step."""

    def training_step(self, run: Run, batch: Any) -> Any:
        loss = nn.functional.cross_entropy(run.model(batch[0]), batch[1])
        run.log("train/own", loss.detach())
        return loss


class Counts(Trainer):
    """Goes by the number of the step."""

    def training_step(self, run: Run, batch: Any) -> Any:
        factor = 1 + run.progress.steps_completed
        return factor * nn.functional.cross_entropy(run.model(batch[0]), batch[1])


class Draws(Trainer):
    """Draws on the host."""

    def training_step(self, run: Run, batch: Any) -> Any:
        return random.random() * nn.functional.cross_entropy(run.model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("kind", "reason", "line"),
    [
        (Reads, "waits for the device", "loss.item() > 0"),
        (Logs, "`run.log` is used", 'run.log("train/own"'),
        (Counts, "`run.progress` is used", "run.progress.steps_completed"),
        (Draws, "draws random numbers on the host", ""),
    ],
)
def test_a_step_that_breaks_a_rule_goes_the_eager_way_and_its_line_is_named(
    recorded: list[RecordedGraphs],
    caplog: pytest.LogCaptureFixture,
    kind: type[Trainer],
    reason: str,
    line: str,
) -> None:
    assert agree(recorded, kind=kind).replays == 0
    assert reason in caplog.text
    assert line in caplog.text


class Kept(Trainer):
    """A step of its own that keeps to the rules, with a weight from the batch."""

    def training_step(self, run: Run, batch: Any) -> Any:
        loss = nn.functional.cross_entropy(run.model(batch[0]), batch[1])
        return {"loss": loss, "weight": (batch[1] >= 0).sum()}


def test_a_step_of_the_trainer_s_own_is_captured(recorded: list[RecordedGraphs]) -> None:
    assert agree(recorded, kind=Kept).replays == STEPS - EAGER


# --- on CUDA -------------------------------------------------------------------------------------

ON_CUDA = pytest.mark.skipif(NAME != "cuda", reason="needs CUDA: `make accelerator`")


def on_cuda(*callbacks: Callback[Any], folder: str = "run", **fit: Any) -> list[Tensor]:
    """Weights after 500 steps with dropout, a moving rate, clipping and averages."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(800, 3, generator=generator)
    data = TensorDataset(inputs, torch.randint(2, (800,), generator=generator))
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.2), nn.Linear(64, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: AdamW(p, lr=0.01, fused=True),
        scheduler=lambda optimizer: LinearLR(optimizer, 0.1, total_iters=400),
        callbacks={"ema": EMA(0.9), **{str(n): one for n, one in enumerate(callbacks)}},
        clip=0.5,
        seed=3,
        settings=Settings(device="cuda", directory=folder, step="captured"),
    )
    trainer.fit(data, epochs=20, batch_size=32, **fit)
    return [t.detach().clone() for t in trainer.models["model"].state_dict().values()]


@ON_CUDA
def test_on_cuda_500_replayed_steps_have_the_bits_of_the_eager_way() -> None:
    assert same(on_cuda(), on_cuda(Listens(), folder="eager"))


@ON_CUDA
def test_on_cuda_a_resumed_run_has_the_same_bits() -> None:
    saving = Checkpoint(every="130 steps", at_end=False)
    on_cuda(saving, folder="cut", steps=131)
    assert same(on_cuda(saving, folder="cut", resume=130), on_cuda(folder="whole"))
