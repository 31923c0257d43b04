"""LRFinder: a learning rate to begin with, found by trying."""

from __future__ import annotations

import logging
import math
from typing import Any, final

import numpy as np
from torch.optim import Optimizer

from trackside.callbacks.scheduling.range_test import growing, run_test, smoothed, steepest
from trackside.errors import ConfigurationError, UnknownOptimizerError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.run_folder.inside import unlinked
from trackside.tracking.media import Media, Picture

logger = logging.getLogger("trackside")


@final
class LRFinder(Callback):
    """Trains some steps with a growing learning rate, before training, and suggests one.

    Afterwards weights, optimizer, generators and the position in the data are what they were:
    training goes on as if the test had not been. The suggestion is where the loss falls fastest;
    it is logged as `lr_finder/suggestion`, and `lr_finder.png` in the run's folder shows the
    curve. A resumed run isn't tested again. Batches are taken singly; other callbacks don't take
    part in the test.

    Args:
        smallest: The first rate, above 0.
        largest: The last one.
        steps: How many steps, at least 3.
        smoothing: Share of the past in the curve of losses, from 0 up to, and without, 1.
        worst: The test ends when the smoothed loss is this many times the lowest one, if that is
            above 0.
        stop: Whether the run ends after the test instead of training.
        plot: Whether the picture is drawn; needs matplotlib.
        optimizer: Name of the optimizer, where there are several.

    Raises:
        ConfigurationError: Options out of range, or matplotlib isn't installed.
        UsageError: Found when training starts: steps that optimize by hand can't be tested.

    Example:
        >>> finder = LRFinder(steps=100, stop=True)

    Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    effect = "changes"
    logs = ("lr_finder/suggestion",)

    def __init__(
        self,
        *,
        smallest: float = 1e-7,
        largest: float = 1.0,
        steps: int = 100,
        smoothing: float = 0.9,
        worst: float = 4.0,
        stop: bool = False,
        plot: bool = True,
        optimizer: str | None = None,
    ) -> None:
        whole_number(steps, "steps", at_least=3)
        if not 0 < smallest < largest < math.inf:
            raise ConfigurationError(
                f"the rates of a range test can't grow from {smallest} to {largest}",
                expected="0 < smallest < largest",
                option="largest" if smallest > 0 else "smallest",
            )
        if not 0 <= smoothing < 1 or not worst > 1:
            raise ConfigurationError(
                f"smoothing={smoothing}, worst={worst} end no range test",
                expected="smoothing from 0 up to, and without, 1; worst above 1",
                option="worst" if 0 <= smoothing < 1 else "smoothing",
            )
        self.rates_planned = growing(smallest, largest, steps)
        self.smoothing = smoothing
        self.worst = worst
        self.stop = stop
        self.optimizer = optimizer
        self._figure: Any = _figure_class() if plot else None
        self.rates: list[float] = []
        """The rates that were tried."""
        self.losses: list[float] = []
        """The loss at each of them, over all ranks, not smoothed."""
        self.suggestion: float | None = None
        """Where the loss falls fastest; None where it never did."""

    def on_fit_start(self, run: Run) -> None:
        if run.progress.steps_completed > 0:
            return
        optimizer = self._chosen(run)
        self.losses = run_test(
            run, optimizer, self.rates_planned, smoothing=self.smoothing, worst=self.worst
        )
        self.rates = self.rates_planned[: len(self.losses)]
        last = None if math.isfinite(self.losses[-1]) else -1  # what isn't finite isn't drawn
        rates, curve = self.rates[:last], smoothed(self.losses[:last], self.smoothing)
        self.suggestion = steepest(rates, curve)
        if self.suggestion is None:
            logger.warning("the loss fell at no learning rate from %g to %g", *_ends(self.rates))
        else:
            logger.info("the loss falls fastest at a learning rate of %.2e", self.suggestion)
            run.log("lr_finder/suggestion", self.suggestion, weight=1.0)
        if self._figure is not None and run.world.is_global_zero:
            self._draw(run, rates, curve)
        if self.stop:
            run.stop("the learning-rate range test is done")

    def _chosen(self, run: Run) -> Optimizer:
        if run.steps.manual_optimization:
            raise UsageError("a range test needs steps that return their loss, not manual ones")
        if self.optimizer is None and len(run.optimizers) > 1:
            raise UsageError(
                "there are several optimizers to test",
                expected="optimizer=... with one of " + ", ".join(run.optimizers),
            )
        if self.optimizer is not None and self.optimizer not in run.optimizers:
            raise UnknownOptimizerError.among(
                run.optimizers, self.optimizer, "to test", option="optimizer"
            )
        return run.optimizers[self.optimizer] if self.optimizer is not None else run.optimizer

    def _draw(self, run: Run, rates: list[float], curve: list[float]) -> None:
        figure = self._figure(figsize=(8, 5), dpi=100, layout="constrained")
        axes = figure.subplots()
        axes.plot(rates, self.losses[: len(rates)], color="0.8", linewidth=1, label="loss")
        axes.plot(rates, curve, color="C0", label="smoothed")
        if self.suggestion is not None:
            at = curve[rates.index(self.suggestion)]
            axes.plot([self.suggestion], [at], "o", color="C3", label=f"{self.suggestion:.2e}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_title("Learning-rate range test")
        axes.legend()
        axes.grid(alpha=0.3)
        run.directory.mkdir(parents=True, exist_ok=True)
        path = unlinked(run.directory / "lr_finder.png")
        figure.savefig(path)
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        run.emit(Media.on_picture, "lr_finder", Picture(pixels, path))


def _ends(rates: list[float]) -> tuple[float, float]:
    return rates[0], rates[-1]


def _figure_class() -> Any:
    try:
        # Without pyplot: it would choose a window system for the whole program.
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "LRFinder draws with matplotlib, which is not installed",
            remedy="pip install 'trackside[pictures]', or plot=False",
            option="plot",
        ) from error

    def make(**options: Any) -> Any:
        figure = Figure(**options)
        FigureCanvasAgg(figure)
        return figure

    return make
