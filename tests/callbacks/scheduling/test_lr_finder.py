"""LRFinder suggests a rate and leaves no trace in what is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Settings, Status, Trainer
from trackside.callbacks.scheduling.lr_finder import LRFinder
from trackside.errors import ConfigurationError, UsageError
from trackside.run import Run
from trackside.testing import tiny_classification, tiny_regression
from trackside.tracking.media import Picture


def rows(result: Any) -> list[dict[str, float]]:
    drop = ("seconds", "lr_finder/suggestion")
    kept = [{k: v for k, v in r.items() if k not in drop} for r in result.history.rows()]
    return [row for row in kept if len(row) > 3]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_goes_on_as_if_the_test_had_not_been(precision: Any) -> None:
    def fit(*callbacks: Callback) -> tuple[Tensor, list[dict[str, float]]]:
        task = tiny_classification()
        trainer = task.trainer(callbacks=callbacks, precision=precision)
        result = trainer.fit(task.train, task.validation, epochs=2)
        return task.weights, rows(result)

    tested, plain = fit(LRFinder(steps=20, plot=False)), fit()

    assert torch.equal(tested[0], plain[0])
    assert tested[1] == plain[1]


def test_the_loss_scaler_is_put_back() -> None:
    states: list[dict[str, Any]] = []

    class Scaler(Callback):
        runs_after = (LRFinder,)

        def on_setup_end(self, run: Run) -> None:
            states.append(run.precision.state_dict())

        def on_fit_start(self, run: Run) -> None:
            states.append(run.precision.state_dict())

    task = tiny_classification()
    finder = LRFinder(steps=20, plot=False)
    task.trainer(callbacks=[finder, Scaler()], precision="fp16").fit(task.train, steps=1)

    assert finder.losses
    assert states[0] == states[1]


def test_generators_of_the_loader_and_an_optimizer_with_a_past_are_left_alone() -> None:
    def fit(*callbacks: Callback) -> Tensor:
        task = tiny_regression()
        optimizer = SGD(task.model.parameters(), lr=0.05, momentum=0.9)
        generator = torch.Generator().manual_seed(3)
        inputs = torch.randn(12, 2, generator=generator)
        data = TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))
        loader = DataLoader(data, batch_size=4, shuffle=True, generator=generator)
        task.trainer(optimizer=optimizer).fit(loader, steps=2)
        task.trainer(optimizer=optimizer, callbacks=callbacks).fit(loader, epochs=2)
        return task.weights

    assert torch.equal(fit(LRFinder(steps=7, plot=False)), fit())


class Bowl(nn.Module):
    """Loss w * w: a step of rate r multiplies w by 1 - 2r, so that the best rate is 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.square() * x.mean()


def bowl(*callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        Bowl(),
        loss=lambda prediction, target: prediction,
        optimizer=lambda p: SGD(p, lr=0.1),
        callbacks=callbacks,
        defaults=False,
        **options,
    )


BATCHES = [(torch.ones(2, 1), torch.zeros(2))] * 3


def test_the_losses_are_those_of_steps_with_growing_rates() -> None:
    finder = LRFinder(smallest=0.01, largest=0.4, steps=5, plot=False)
    bowl(finder).fit(BATCHES, steps=1)

    weight, expected = 1.0, []
    for step in range(5):
        expected.append(weight**2)
        weight *= 1 - 2 * 0.01 * 40 ** (step / 4)
    assert finder.losses == pytest.approx(expected)
    assert finder.suggestion in finder.rates


def test_it_ends_when_the_loss_explodes() -> None:
    finder = LRFinder(smallest=0.1, largest=1000.0, steps=60, smoothing=0.0, plot=False)
    bowl(finder).fit(BATCHES, steps=1)

    assert len(finder.losses) < 60
    assert finder.losses[-1] > 4 * min(finder.losses)


def test_a_loss_below_zero_does_not_end_it() -> None:
    class Below(Bowl):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - 5

    finder = LRFinder(smallest=0.01, largest=0.4, steps=5, plot=False)
    trainer = bowl(finder)
    trainer.model = Below()
    trainer.fit(BATCHES, steps=1)

    assert len(finder.losses) == 5
    assert finder.suggestion in finder.rates


def test_a_rate_of_0_at_the_start_of_a_warm_up_is_tested_like_any_other() -> None:
    finder = LRFinder(smallest=0.01, largest=0.4, steps=5, plot=False)
    warm_up = bowl(finder, scheduler=lambda o: LambdaLR(o, lambda step: min(1.0, step / 10)))
    warm_up.fit(BATCHES, steps=1)

    assert len(finder.losses) == 5
    assert finder.losses[-1] < finder.losses[0]


def test_it_ends_at_a_loss_that_is_not_finite() -> None:
    class Breaks(Bowl):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if self.w > 0.5 else self.w * float("nan")

    finder = LRFinder(smallest=0.1, largest=0.4, steps=10)
    trainer = bowl(finder, settings=Settings(directory="run"))
    trainer.model = Breaks()
    trainer.fit(BATCHES, steps=1)

    assert len(finder.losses) < 10
    assert Path("run/lr_finder.png").exists()


def test_the_suggestion_is_logged_and_drawn() -> None:
    pictures: list[Picture] = []

    class Tracker(Callback):
        def on_picture(self, run: Run, name: str, picture: Picture) -> None:
            assert name == "lr_finder"
            pictures.append(picture)

    finder = LRFinder(smallest=0.001, largest=0.9, steps=12)
    trainer = bowl(finder, Tracker(), settings=Settings(directory="run"))
    history = trainer.fit(BATCHES, epochs=1).history

    assert history.latest("lr_finder/suggestion") == finder.suggestion
    assert Path("run/lr_finder.png").read_bytes()[:4] == b"\x89PNG"
    assert pictures[0].pixels.shape == (500, 800, 3)
    assert pictures[0].pixels.min() < 128


def test_it_can_be_a_run_of_its_own() -> None:
    result = bowl(LRFinder(steps=5, stop=True, plot=False)).fit(BATCHES, epochs=3)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.step == 0


def test_groups_keep_the_ratio_of_their_rates() -> None:
    seen: list[list[float]] = []

    class Watching(Trainer):
        def optimizer_step(self, run: Any, optimizer: Any) -> None:
            seen.append([group["lr"] for group in optimizer.param_groups])
            super().optimizer_step(run, optimizer)

    task = tiny_regression()
    weight, bias = task.model.parameters()
    groups = [{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.02}]
    finder = LRFinder(smallest=0.001, largest=0.1, steps=3, plot=False)
    trainer = Watching(
        task.model,
        loss=task.loss,
        optimizer=lambda _: SGD(groups, lr=1.0),
        callbacks=[finder],
        defaults=False,
    )
    trainer.fit(task.train, steps=1)

    assert seen[0] == pytest.approx([0.001, 0.0002])
    assert seen[-1] == [0.1, 0.02]


def test_what_its_steps_log_and_ask_for_is_dropped() -> None:
    class Talking(Trainer):
        def training_step(self, run: Any, batch: Any) -> Any:
            run.log("talk/batch", 1.0)
            if run.progress.steps_completed == 0 and not self.talked:
                self.talked = True
                run.stop("not meant")
            return super().training_step(run, batch)

        talked = False

    task = tiny_regression()
    trainer = Talking(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[LRFinder(steps=9, plot=False)],
        defaults=False,
    )
    result = trainer.fit(task.train, epochs=1)

    assert result.outcome.status is Status.COMPLETED
    assert "talk/batch" in result.history.names


def test_a_resumed_run_is_not_tested_again() -> None:
    finder = LRFinder(steps=5, plot=False)

    class Later(Callback):
        runs_before = (LRFinder,)

        def on_fit_start(self, run: Run) -> None:
            run.progress.steps_completed = 1

    bowl(finder, Later()).fit(BATCHES, steps=2)

    assert finder.losses == []


def test_several_optimizers_need_a_name() -> None:
    class Two(Trainer):
        def configure_optimizers(self, run: Any) -> Any:
            weight, bias = run.model.parameters()
            return {"a": SGD([weight], lr=0.1), "b": SGD([bias], lr=0.1)}

    def fit(**options: Any) -> Tensor:
        task = tiny_regression()
        finder = LRFinder(steps=5, plot=False, **options)
        trainer = Two(task.model, loss=task.loss, callbacks=[finder], defaults=False, seed=0)
        trainer.fit(task.train, steps=2)
        return task.weights

    with pytest.raises(UsageError, match="several optimizers"):
        fit()
    with pytest.raises(ConfigurationError, match="no optimizer named 'c'"):
        fit(optimizer="c")
    assert torch.equal(fit(optimizer="a"), fit(optimizer="b"))


def test_steps_that_optimize_by_hand_are_refused() -> None:
    class ByHand(Trainer):
        manual_optimization = True

    task = tiny_regression()
    trainer = ByHand(
        task.model, loss=task.loss, optimizer=task.optimizer, callbacks=[LRFinder(plot=False)]
    )
    with pytest.raises(UsageError, match="manual"):
        trainer.fit(task.train, steps=1)


def test_a_missing_matplotlib_is_explained_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[pictures\]'"):
        LRFinder()
    LRFinder(plot=False)


@pytest.mark.parametrize(
    "options",
    [{"smallest": 0.0}, {"smallest": 2.0}, {"steps": 2}, {"smoothing": 1.0}, {"worst": 1.0}],
    ids=str,
)
def test_a_test_that_can_not_be_run_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        LRFinder(plot=False, **options)
