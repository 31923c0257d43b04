"""Batches halved when memory runs out: the same training, in smaller parts."""

from __future__ import annotations

import gc
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Callback, ConfigurationError, Output, Run, Settings, Trainer, UsageError
from trackside.callbacks import Benchmark, Checkpoint
from trackside.progress import Halving
from trackside.testing import Recorder

SAMPLES = 22
X = torch.randn(SAMPLES, 3, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(X, X.sum(1, keepdim=True).sin())


@pytest.fixture(autouse=True)
def without_a_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each lack of memory; it takes long in a process with all that tests have imported."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class OverLimit(torch.autograd.Function):
    """Runs out of memory in the backward pass, after the gradients of the layer above are there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: int) -> Tensor:
        ctx.limit = limit
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if len(gradients[0]) > ctx.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.\nMore")
        return gradients[0], None


class Greedy(nn.Module):
    """Has memory for `limit` samples at once."""

    seen: Tensor

    def __init__(self, limit: int = 100, where: str = "forward", dropout: float = 0.0) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(3, 5), nn.Linear(5, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.limit, self.where = limit, where

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        hidden = self.dropout(self.below(x).tanh())
        if self.where == "backward":
            hidden = OverLimit.apply(hidden, self.limit)
        elif len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.\nMore")
        made: Tensor = self.above(hidden)
        return made


def trainer(folder: Path, model: Any, *callbacks: Any, **given: Any) -> Trainer:
    kind = given.pop("kind", Trainer)
    settings = {"halve_batches_to": 1, "log_every": "1 step", **given.pop("settings", {})}
    return kind(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(directory=folder, device="cpu", **settings),
        **given,
    )


def fit(folder: Path, model: Any, *callbacks: Any, **given: Any) -> tuple[Any, Trainer]:
    made = trainer(folder, model, *callbacks, **given)
    return made.fit(DATA, epochs=2, batch_size=8), made


def weights(made: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in made.models["model"].parameters()])


# --- the same training ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "accumulate", "limit"),
    [("forward", 1, 3), ("backward", 1, 7), ("forward", 2, 7), ("backward", 2, 1)],
)
def test_halved_steps_train_as_whole_ones(
    tmp_path: Path, where: str, accumulate: int, limit: int
) -> None:
    whole, one = fit(tmp_path / "a", Greedy, accumulate=accumulate)
    result, two = fit(tmp_path / "b", partial(Greedy, limit, where), accumulate=accumulate)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-5, atol=1e-6)
    for name in ("train/loss", "train_recent/loss"):
        assert result.history.values(name) == pytest.approx(whole.history.values(name), rel=1e-5)
    assert result.halvings[-1].samples == {7: 4, 3: 2, 1: 1}[limit]
    assert [r.samples for r in result.history if "train/loss" in r.values] == [22, 44]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_without_a_failure_every_bit_is_as_without_the_setting(
    tmp_path: Path, accumulate: int
) -> None:
    _, one = fit(tmp_path / "a", partial(Greedy, dropout=0.5), accumulate=accumulate)
    plain = {"halve_batches_to": None}
    _, two = fit(
        tmp_path / "b", partial(Greedy, dropout=0.5), accumulate=accumulate, settings=plain
    )
    assert torch.equal(weights(one), weights(two))


class Valid(Trainer):
    """Says as samples those whose first feature is positive, and means over these."""

    def training_step(self, run: Run, batch: Any) -> Output:
        x, y = batch
        valid = x[:, 0] > 0
        each = (run.model(x) - y).square().mean(1)
        loss = (each * valid).sum() / valid.sum().clamp(min=1)
        return Output(loss, samples=int(valid.sum()))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_parts_weigh_the_samples_that_the_step_says(tmp_path: Path, accumulate: int) -> None:
    whole, one = fit(tmp_path / "a", Greedy, kind=Valid, accumulate=accumulate)
    result, two = fit(tmp_path / "b", partial(Greedy, 3), kind=Valid, accumulate=accumulate)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-5, atol=1e-6)
    assert result.history.values("train/loss") == pytest.approx(
        whole.history.values("train/loss"), rel=1e-5
    )


class Twice(Callback[Run]):
    """Puts each sample into its batch twice."""

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        return [torch.cat([part, part]) for part in batch]


def test_a_batch_in_parts_weighs_as_much_as_one_in_one_piece(tmp_path: Path) -> None:
    _, one = fit(tmp_path / "a", Greedy, Twice(), accumulate=3)
    # The last batch of an epoch fits as it is, the others go in parts.
    _, two = fit(tmp_path / "b", partial(Greedy, 12), Twice(), accumulate=3)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-5, atol=1e-6)


class Tokens(Trainer):
    """Weighs samples by their first feature: parts of a batch weigh differently."""

    def training_step(self, run: Run, batch: Any) -> Output:
        x, y = batch
        each = (run.model(x) - y).square().mean(1)
        weight = x[:, 0].abs()
        run.log("mass", weight.mean())
        return Output((each * weight).sum() / weight.sum(), weight=weight.sum(), tokens=2 * len(x))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_parts_weigh_what_the_step_says(tmp_path: Path, accumulate: int) -> None:
    whole, one = fit(tmp_path / "a", Greedy, accumulate=accumulate, kind=Tokens)
    result, two = fit(
        tmp_path / "b", partial(Greedy, 3, "backward"), accumulate=accumulate, kind=Tokens
    )
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-5, atol=1e-6)
    for name in ("train/loss", "train/mass"):
        assert result.history.values(name) == pytest.approx(whole.history.values(name), rel=1e-5)
    assert result.history[-1].tokens == 88


# --- an attempt that failed leaves nothing behind -------------------------------------------------


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_failed_attempt_leaves_nothing_behind(tmp_path: Path, where: str) -> None:
    """As if the parts had been small from the first: generators, buffers, logs, gradients."""

    class Small(Callback[Run]):
        def on_fit_start(self, run: Run) -> None:
            run.halvings.append(Halving(1, 4, "memory"))

    _, one = fit(tmp_path / "a", partial(Greedy, dropout=0.5), Small(), accumulate=2)
    result, two = fit(tmp_path / "b", partial(Greedy, 4, where, dropout=0.5), accumulate=2)
    assert len(result.halvings) == 1
    assert torch.equal(weights(one), weights(two))
    assert two.models["model"].seen == one.models["model"].seen == 2 * SAMPLES


def test_hooks_hear_of_a_batch_once_and_of_the_whole(tmp_path: Path) -> None:
    class Hears(Callback[Run]):
        def __init__(self) -> None:
            self.outputs: list[Any] = []
            self.losses: list[float] = []

        def on_backward_start(self, run: Run, loss: Tensor) -> None:
            assert all(p.grad is None for p in run.model.parameters())
            self.losses.append(loss.item())

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            assert run.batch_samples == len(batch[0]) == len(output.prediction)
            self.outputs.append(output.loss.item())

    hears, recorder = Hears(), Recorder()
    fit(tmp_path / "a", partial(Greedy, 3), hears, recorder)
    assert hears.losses == hears.outputs
    assert len(hears.losses) == 6
    other = Recorder()
    fit(tmp_path / "b", Greedy, other, Hears(), settings={"halve_batches_to": None})
    steps = [name for name in recorder.names if name != "on_log"]
    assert steps == [name for name in other.names if name != "on_log"]


# --- kept, told, limited --------------------------------------------------------------------------


def test_parts_stay_small_for_later_steps_and_are_told_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="trackside"):
        result, _ = fit(tmp_path, partial(Greedy, 3))
    reason = "CUDA out of memory. Tried to allocate 1.00 GiB."
    assert result.halvings == (Halving(1, 4, reason), Halving(1, 2, reason))
    told = [r.message for r in caplog.records if "memory ran out" in r.message]
    assert [words.partition(": ")[0] for words in told] == ["memory ran out in step 1"] * 2
    assert result.history.values("train/part_samples") == [2]


def test_a_resume_goes_on_with_the_parts_to_the_last_bit(tmp_path: Path) -> None:
    save = {"accumulate": 2}
    _, whole = fit(tmp_path / "a", partial(Greedy, 3, dropout=0.5), Checkpoint("1 step"), **save)
    half = trainer(tmp_path / "b", partial(Greedy, 3, dropout=0.5), Checkpoint("1 step"), **save)
    half.fit(DATA, steps=2, batch_size=8)
    # More memory now: the parts stay as they were, and so do the bits.
    again = trainer(tmp_path / "b", partial(Greedy, 100, dropout=0.5), Checkpoint("1 step"), **save)
    result = again.fit(DATA, epochs=2, batch_size=8, resume="auto")
    assert [one.samples for one in result.halvings] == [4, 2]
    assert torch.equal(weights(again), weights(whole))


def test_a_resume_without_the_setting_says_that_batches_are_whole_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path, partial(Greedy, 3), Checkpoint("1 step")).fit(DATA, steps=1, batch_size=8)
    plain = {"halve_batches_to": None}
    again = trainer(tmp_path, Greedy, Checkpoint("1 step"), settings=plain)
    with caplog.at_level(logging.WARNING, logger="trackside"):
        again.fit(DATA, steps=2, batch_size=8, resume="auto")
    assert "in parts of at most 2 samples, and this one takes them whole" in caplog.text


def test_halving_ends_at_its_limit_with_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError) as raised:
        fit(tmp_path, partial(Greedy, 1), settings={"halve_batches_to": 3})
    assert "3 at once is the smallest that is allowed" in " ".join(raised.value.__notes__)


def test_a_batch_norm_that_begins_to_train_ends_a_run_in_parts(tmp_path: Path) -> None:
    class Thaws(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            run.models["model"].get_submodule("1").train()

    model = partial(nn.Sequential, Greedy(3), nn.BatchNorm1d(1).eval())
    with pytest.raises(UsageError, match="is a batch norm in training mode"):
        fit(tmp_path, model, Thaws())


def test_a_failed_attempt_asks_for_nothing(tmp_path: Path) -> None:
    class Asks(Trainer):
        def training_step(self, run: Run, batch: Any) -> Any:
            if len(batch[0]) > 3:
                run.stop("only whole batches ask")
                run.skip_step("only whole batches ask")
            return super().training_step(run, batch)

    result, _ = fit(tmp_path, partial(Greedy, 3), kind=Asks)
    assert (result.outcome.status, result.skipped_steps) == ("completed", ())


def test_other_errors_are_not_tried_again(tmp_path: Path) -> None:
    class Fails(Trainer):
        calls = 0

        def training_step(self, run: Run, batch: Any) -> Any:
            Fails.calls += 1
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        fit(tmp_path, Greedy, kind=Fails)
    assert Fails.calls == 1


def test_a_batch_that_can_not_be_cut_lets_the_error_go_on_with_the_reason(tmp_path: Path) -> None:
    class Whole(Callback[Run]):
        def on_batch_start(self, run: Run, batch: Any) -> Any:
            return [*batch, torch.zeros(len(batch[0]) + 1)]

    class Pairs(Trainer):
        def training_step(self, run: Run, batch: Any) -> Any:
            return super().training_step(run, batch[:2])

    with pytest.raises(torch.OutOfMemoryError) as raised:
        fit(tmp_path, partial(Greedy, 3), Whole(), kind=Pairs)
    assert "nobody says how many samples the batch has" in " ".join(raised.value.__notes__)


class ByHand(Trainer):
    manual_optimization = True


@pytest.mark.parametrize(
    ("model", "given", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1)), {}, "1 is a batch norm"),
        (lambda: nn.BatchNorm1d(3).eval(), {}, "BatchNorm1d is a batch norm"),
        (Greedy, {"settings": {"step": "compiled"}}, "step='compiled'"),
        (Greedy, {"kind": ByHand}, "optimizes by hand"),
    ],
)
def test_a_run_whose_batches_can_not_be_halved_is_refused_before_its_first_step(
    tmp_path: Path, model: Any, given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        fit(tmp_path, model, **given)
    assert refused.value.option == "halve_batches_to"


@pytest.mark.parametrize(
    ("callback", "reason"), [(Benchmark(2), "'benchmark' looks into"), (None, "1 is a batch norm")]
)
def test_measures_of_whole_batches_and_norms_without_statistics_are_refused(
    tmp_path: Path, callback: Any, reason: str
) -> None:
    norm = nn.Sequential(Greedy(), nn.BatchNorm1d(1, track_running_stats=False)).eval()
    given = (Greedy, callback) if callback else (lambda: norm,)
    with pytest.raises(ConfigurationError, match=reason):
        fit(tmp_path, *given)


def test_batch_norms_that_only_evaluate_are_no_obstacle(tmp_path: Path) -> None:
    result, _ = fit(tmp_path, lambda: nn.Sequential(Greedy(3), nn.BatchNorm1d(1).eval()))
    assert result.halvings


def test_a_limit_below_one_sample_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(halve_batches_to=0)
    assert refused.value.option == "halve_batches_to"
