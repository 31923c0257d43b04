"""Steps without their update: what moves, what stays, and who hears of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import TensorDataset

from trackside import Callback, Output, Run, Scheduler, Settings, Trainer, on
from trackside.callbacks import EMA, SWA, Checkpoint, EpochTable, LRScheduler
from trackside.callbacks.averaging.averages import warmed_up

STEPS = 6
OVERFLOWS = (1, 4)
"""Batches, from 0, whose gradients are not finite in fp16."""


def batches(*overflows: int) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    # Small enough for the scale that the scaler begins with.
    inputs = torch.randn(STEPS, 4, 3, generator=generator) / 20
    target = torch.randn(STEPS, 4, 1, generator=generator) / 20
    for number in overflows:
        target[number] = float("inf")
    return list(zip(inputs, target, strict=True))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


class Watch(Callback[Run]):
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.weights: list[Tensor] = []

    def on_step_end(self, run: Run) -> None:
        self.rates.append(run.optimizer.param_groups[0]["lr"])
        self.weights.append(run.model.get_parameter("weight").detach().clone())


class Skip(Callback[Run]):
    skips_steps = True

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        if run.progress.steps_completed % STEPS in OVERFLOWS:
            run.skip_step("not this one")


def trained(*callbacks: Callback[Any], **options: Any) -> tuple[Watch, Any]:
    watch = Watch()
    trainer = Trainer(
        model(),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        callbacks=[*callbacks, watch],
        defaults=False,
        settings=Settings(directory="run", device="cpu", log_every="2 steps"),
        **options,
    )
    return watch, trainer.fit(batches(*OVERFLOWS), epochs=1)


def by_hand() -> tuple[list[Tensor], list[float]]:
    """The same in fp16, as torch's own pages have it; the scheduler waits where nothing moved."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler, scaler = ExponentialLR(optimizer, 0.5), torch.amp.GradScaler("cpu")
    weights, rates = [], []
    for inputs, target in batches(*OVERFLOWS):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(net(inputs), target)
        scaler.scale(loss).backward()
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if scaler.get_scale() >= before:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
        weights.append(net.get_parameter("weight").detach().clone())
    return weights, rates


def test_fp16_with_skipped_updates_equals_a_loop_by_hand_bit_for_bit() -> None:
    weights, rates = by_hand()
    watch, _ = trained(
        precision="fp16", scheduler=Scheduler(lambda o: ExponentialLR(o, 0.5), "step")
    )
    assert all(torch.equal(a, b) for a, b in zip(watch.weights, weights, strict=True))
    assert watch.rates == rates


@pytest.mark.parametrize("how", ["fp16", "asked"])
def test_skipped_updates_are_counted_recorded_and_in_the_result(how: str) -> None:
    asks = [Skip()] if how == "asked" else []
    _, result = trained(*asks, precision="fp16" if how == "fp16" else "fp32")
    assert [one.step for one in result.skipped_steps] == [2, 5]
    assert result.history.values("train/skipped_steps") == [1, 2]
    assert "2 updates skipped" in repr(result)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("how", ["fp16", "asked"])
def test_a_skipped_step_leaves_nothing_in_the_means_that_is_not_finite(
    how: str, accumulate: int
) -> None:
    class Asks(Callback[Run]):
        skips_steps = True

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            run.log("train/own", output.loss)
            if how == "asked" and not output.loss.isfinite():
                run.skip_step("not finite")

    losses: list[float] = []

    @on(Callback.on_batch_end)
    def keep(run: Run, batch: Any, output: Any) -> None:
        losses.append(float(output.loss.detach()))

    precision = "fp16" if how == "fp16" else "fp32"
    _, result = trained(Asks(), keep, precision=precision, accumulate=accumulate)
    finite = [loss for loss in losses if math.isfinite(loss)]
    for name in ("train/loss", "train/own"):
        assert result.history.values(name) == [pytest.approx(sum(finite) / len(finite))]
    recent = result.history.values("train_recent/loss")
    assert recent
    assert all(map(math.isfinite, recent))


@pytest.mark.parametrize("as_callback", [False, True])
@pytest.mark.parametrize("how", ["fp16", "asked"])
def test_schedulers_wait_where_no_update_is_made(how: str, as_callback: bool) -> None:
    callbacks: list[Callback[Any]] = [Skip()] if how == "asked" else []
    options: dict[str, Any] = {"precision": "fp16" if how == "fp16" else "fp32"}
    if as_callback:
        callbacks.append(LRScheduler(lambda o: ExponentialLR(o, 0.5), interval="step"))
    else:
        options["scheduler"] = Scheduler(lambda o: ExponentialLR(o, 0.5), "step")
    watch, _ = trained(*callbacks, **options)
    assert watch.rates == [0.1 * 0.5**moves for moves in (1, 1, 2, 3, 3, 4)]


@pytest.mark.parametrize("how", ["fp16", "asked"])
def test_averages_wait_where_no_update_is_made(how: str) -> None:
    ema, swa = EMA(0.9), SWA(start="1 step", every="1 step")
    asks = [Skip()] if how == "asked" else []
    watch, _ = trained(*asks, ema, swa, precision="fp16" if how == "fp16" else "fp32")
    taken = [weight for step, weight in enumerate(watch.weights) if step not in OVERFLOWS]
    expected = model().get_parameter("weight").detach().clone()
    for updates, weight in enumerate(taken):
        expected.lerp_(weight, 1 - warmed_up(0.9, updates))
    assert (ema.updates, swa.count) == (4, 4)
    torch.testing.assert_close(ema.weights()["weight"], expected)


def test_an_average_that_waited_goes_on_after_a_resume_as_if_it_had_not_stopped() -> None:
    data = TensorDataset(*(torch.cat(parts) for parts in zip(*batches(), strict=True)))

    def run(directory: str, steps: int, resume: str | None) -> EMA:
        ema = EMA(0.9)
        Trainer(
            model(),
            loss=nn.MSELoss(),
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            callbacks=[Skip(), ema, Checkpoint()],
            defaults=False,
            seed=0,
            settings=Settings(directory=directory, device="cpu"),
        ).fit(data, epochs=2, steps=steps, batch_size=4, resume=resume)
        return ema

    whole = run("whole", 9, None)
    run("parts", 4, None)  # the next step is skipped
    parts = run("parts", 9, "auto")
    assert torch.equal(whole.weights()["weight"], parts.weights()["weight"])


@pytest.mark.parametrize("how", ["skipped", "weightless"])
def test_an_epoch_without_an_update_has_no_loss_and_says_why(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Weighs(Trainer):
        def training_step(self, run: Any, batch: Any) -> Any:
            loss = super().training_step(run, batch).loss
            first = run.progress.epochs_completed == 0 and how == "weightless"
            return Output(loss, weight=0.0 if first else 1.0)

    class Asks(Callback[Run]):
        skips_steps = True

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            if how == "skipped" and run.progress.epochs_completed == 0:
                run.skip_step("not in the first epoch")

    spoilt = [(x, y * float("nan")) for x, y in batches()] if how == "skipped" else batches()

    class Data:
        passes = 0

        def __iter__(self) -> Any:
            self.passes += 1
            return iter(spoilt if self.passes == 1 else batches())

    result = Weighs(
        model(),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=[Asks(), EpochTable()],
        defaults=False,
        settings=Settings(directory="run", device="cpu"),
    ).fit(Data(), epochs=2)

    [loss] = result.history.values("train/loss")
    assert math.isfinite(loss)
    why = "no step of it made an update" if how == "skipped" else "its batches weigh nothing"
    assert f"epoch 1 has no train/loss: {why}" in caplog.text


def test_an_evaluation_of_nothing_has_no_loss_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class WeighsNothing(Trainer):
        def evaluation_step(self, run: Any, batch: Any) -> Any:
            return Output(super().evaluation_step(run, batch).loss, weight=0.0)

    result = WeighsNothing(
        model(),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        defaults=False,
        settings=Settings(directory="run", device="cpu"),
    ).fit(batches(), batches(), epochs=1)

    assert result.history.names == ("train/loss",)
    assert "the evaluation has no val/loss: its batches weigh nothing" in caplog.text


@pytest.mark.parametrize("at", ["step", "second backward"])
def test_a_step_by_hand_that_is_skipped_makes_none_of_its_further_updates(at: str) -> None:
    class Two(Trainer):
        manual_optimization = True

        def configure_model(self, run: Any) -> dict[str, nn.Module]:
            return {"one": nn.Linear(2, 1), "two": nn.Linear(2, 1)}

        def configure_optimizers(self, run: Any) -> dict[str, torch.optim.Optimizer]:
            return {name: torch.optim.SGD(m.parameters(), lr=0.1) for name, m in run.models.items()}

        def training_step(self, run: Any, batch: Any) -> Any:
            for name, model in run.models.items():
                loss = ((model(batch[0]) - batch[1]) ** 2).mean()
                self.optimize(loss, run.optimizers[name])
            return Output(loss)

    class Skips(Callback[Run]):
        skips_steps = True
        backwards = 0

        def on_step_start(self, run: Run) -> None:
            if at == "step" and run.progress.steps_completed == 0:
                run.skip_step("not this one")

        def on_backward_end(self, run: Run, loss: Any) -> None:
            self.backwards += 1
            if at == "second backward" and self.backwards == 2:
                run.skip_step("not this one")

    seen: list[dict[str, Tensor]] = []

    @on(Callback.on_step_start)
    def keep(run: Any) -> None:
        seen.append({name: model.weight.detach().clone() for name, model in run.models.items()})

    data = TensorDataset(torch.randn(8, 2), torch.randn(8, 1))
    trainer = Two(callbacks=[Skips(), keep], defaults=False, seed=0)
    result = trainer.fit(data, steps=3, batch_size=4)

    assert torch.equal(seen[0]["one"], seen[1]["one"]) == (at == "step")
    assert torch.equal(seen[0]["two"], seen[1]["two"])
    assert not torch.equal(seen[1]["one"], seen[2]["one"])
    assert not torch.equal(seen[1]["two"], seen[2]["two"])
    assert [one.step for one in result.skipped_steps] == [1]
