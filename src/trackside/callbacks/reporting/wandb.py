"""`WandB`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from trackside.extras import optional_package
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.tracking.background import BackgroundQueue
from trackside.tracking.media import Histogram, Picture

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@final
class WandB(RankZeroCallback):
    """Sends records, pictures and histograms to Weights & Biases.

    The run's id is part of checkpoints: a resumed run goes on under the same id. `step` is the
    horizontal axis; epoch, samples and seconds are sent too. Everything, the log-in included,
    happens in a thread: a slow or missing network costs no step. What can't be sent after some
    attempts is reported as a warning.

    Needs `pip install 'trackside[wandb]'`.

    Args:
        project: Name of the project; None takes W&B's own default.
        name: Name of the run; None takes the name of the run's folder.
        group: Group of runs that it belongs to.
        tags: Tags of the run.
        mode: `online`; `offline` writes to the run's folder, for `wandb sync` later; `disabled`.
            None leaves it to W&B's own settings and environment.
        options: Further arguments of `wandb.init`.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> WandB("digits", mode="offline")
        WandB('digits')
    """

    runs_in = ("fit",)
    on_error = "warn"

    def __init__(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["online", "offline", "disabled"] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._wandb = optional_package("wandb", needed_by="WandB", extra="wandb")
        self.project = project
        self.run_name = name
        self._options = {"group": group, "tags": list(tags), "mode": mode, **(options or {})}
        self.run_id: str | None = None
        """Id of the run at W&B; None before the first `fit`."""
        self._run: Any = None
        self._delivery: BackgroundQueue | None = None

    def rehearse_in(self, folder: Path) -> bool:
        """Tell nobody of a rehearsal; whether to take part in it."""
        self._options["mode"] = "disabled"
        return True

    def on_attach(self, run: Run) -> None:
        self.run_id = None  # unless a checkpoint brings one

    def on_fit_start(self, run: Run) -> None:
        # Not from Python's generator: observing must not change what training draws.
        self.run_id = self.run_id or "".join(secrets.choice(_LETTERS) for _ in range(8))
        run.directory.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {
            "project": self.project,
            "name": self.run_name or run.directory.name,
            "id": self.run_id,
            "resume": "allow",
            "dir": str(run.directory),
            "config": dict(run.config),
            "reinit": "create_new",
            **self._options,
        }
        self._delivery = BackgroundQueue("Weights & Biases", partial(self._start, arguments))

    def on_log(self, run: Run, record: Record) -> None:
        if self._delivery is not None:
            row = record.row()
            self._delivery.put(lambda: self._run.log(row))

    def on_picture(self, run: Run, name: str, picture: Picture) -> None:
        """Show a picture under its step."""
        if self._delivery is not None:
            step, pixels = picture.step_of(run.progress), picture.pixels.copy()
            caption = picture.caption or None
            self._delivery.put(
                lambda: self._run.log(
                    {name: self._wandb.Image(pixels, caption=caption), "step": step}
                )
            )

    def on_histogram(self, run: Run, name: str, histogram: Histogram) -> None:
        """Show a histogram under the step of now."""
        if self._delivery is not None:
            step = run.progress.steps_completed
            pair = (histogram.counts, histogram.edges)
            self._delivery.put(
                lambda: self._run.log(
                    {name: self._wandb.Histogram(np_histogram=pair), "step": step}
                )
            )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._delivery is None:
            return
        delivery, self._delivery = self._delivery, None
        delivery.close(last=lambda: self._run.finish(exit_code=outcome.exit_code))
        self._run = None

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run_id = state["run_id"]

    def _start(self, arguments: Mapping[str, Any]) -> None:
        self._run = self._wandb.init(**arguments)
        # Its own counter can't go back to the checkpoint after a resume: ours is the axis.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
