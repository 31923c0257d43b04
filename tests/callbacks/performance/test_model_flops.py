from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks.performance.model_flops import ModelFlops
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run

BATCH, IN, HIDDEN, OUT = 8, 16, 32, 4
# A layer of n to m: 2nm for each of forward, gradient of its weights and, but in the first layer,
# gradient of its inputs.
BY_HAND = 2 * (2 * IN * HIDDEN) + 3 * (2 * HIDDEN * OUT)


def fit(watch: Callback, *others: Callback, accumulate: int = 1, steps: int = 6) -> Any:
    data = TensorDataset(torch.randn(64, IN), torch.randn(64, OUT))
    trainer = Trainer(
        nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT)),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=[watch, *others],
        defaults=False,
        accumulate=accumulate,
        settings=Settings(log_every="3 steps"),
    )
    return trainer.fit(data, steps=steps, batch_size=BATCH)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_operations_are_those_counted_by_hand(accumulate: int) -> None:
    history = fit(ModelFlops(), accumulate=accumulate).history

    assert set(history.values("flops/per_sample")) == {BY_HAND}


def test_the_rate_is_operations_by_time_and_the_share_is_of_the_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ModelFlops, "_seconds", lambda self: 0.5)
    history = fit(ModelFlops(peak_tflops=2e-6)).history

    # Between the step that is counted, the second, and the record of the third lies one step; then
    # come three.
    rates = [BY_HAND * BATCH * steps / 0.5 / 1e12 for steps in (1, 3)]
    assert history.values("flops/tera_per_second") == pytest.approx(rates)
    assert history.values("flops/mfu") == pytest.approx([rate / 2e-6 for rate in rates])


def test_a_peak_that_is_not_known_is_said_once_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        history = fit(ModelFlops()).history

    assert caplog.text.count("the peak of cpu isn't known") == 1
    assert "flops/mfu" not in history.names


def test_a_step_without_matrix_products_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * self.factor

    data = TensorDataset(torch.randn(8, 3), torch.randn(8, 3))
    trainer = Trainer(
        Scale(),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=[ModelFlops(peak_tflops=1)],
        defaults=False,
    )
    with caplog.at_level(logging.WARNING):
        history = trainer.fit(data, epochs=3, batch_size=4).history

    assert caplog.text.count("torch counted no operations") == 1
    assert not any(name.startswith("flops/") for name in history.names)


def test_a_step_that_fails_leaves_nothing_behind() -> None:
    class Failing(Callback):
        def on_batch_start(self, run: Run, batch: Any) -> None:
            if run.progress.steps_completed == 1:
                raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fit(ModelFlops(peak_tflops=1), Failing())
    assert _get_current_dispatch_mode_stack() == []


@pytest.mark.parametrize("options", [{"peak_tflops": 0}, {"step": 0}])
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ModelFlops(**options)
