"""Three ways to write a callback: a class, a class with a schedule, a plain function.

python examples/custom_callback.py
"""

from __future__ import annotations

from typing import Any

import torch
from digits_data import SmallCNN, digits
from torch import nn

from trackside import Callback, PeriodicCallback, Result, Run, Trainer, accuracy, on


class GradientGuard(Callback):
    """Skips steps whose gradient is larger than anything seen in the first steps.

    Args:
        factor: How many times the largest of the first norms is too large.
        warm_up: How many steps are only watched.
    """

    logs = ("grad/norm",)

    def __init__(self, factor: float = 5.0, warm_up: int = 20) -> None:
        self.factor = factor
        self.warm_up = warm_up
        self.largest = 0.0
        self.skipped = 0

    def on_optimizer_step_start(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
        """Gradients are final here: accumulated and unscaled."""
        gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item()
        run.log("grad/norm", norm)
        if run.progress.steps_completed < self.warm_up:
            self.largest = max(self.largest, norm)
        elif norm > self.factor * self.largest:
            self.skipped += 1
            run.skip_step(f"gradient norm {norm:.1f}")

    def state_dict(self) -> dict[str, Any]:
        """A resumed run goes on with the same bound."""
        return {"largest": self.largest, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the bound over."""
        self.largest, self.skipped = state["largest"], state["skipped"]


class WeightReport(PeriodicCallback):
    """Logs the norm of the weights whenever it is due."""

    logs = ("weights/norm",)

    def on_due(self, run: Run) -> None:
        """The schedule given to the constructor is due."""
        run.log("weights/norm", torch.nn.utils.get_total_norm(run.model.parameters()))


@on(Callback.on_epoch_end, every="2 epochs")
def praise(run: Run, metrics: dict[str, float]) -> None:
    """A plain function is a callback as well."""
    print(f"after {run.progress.epochs_completed} epochs: {metrics['val/accuracy']:.1%} right")


def main(epochs: int = 4) -> tuple[Result, GradientGuard]:
    """Train the digits with the three of them."""
    guard = GradientGuard()
    trainer = Trainer(
        SmallCNN,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3),
        metrics={"accuracy": accuracy},
        callbacks=[guard, WeightReport("20 steps"), praise],
        seed=0,
    )
    return trainer.fit(digits("train"), digits("val"), epochs=epochs, batch_size=64), guard


if __name__ == "__main__":
    result, guard = main()
    print(f"steps skipped: {guard.skipped}")
    print(f"weight norms: {[round(norm, 2) for norm in result.history.values('weights/norm')]}")
