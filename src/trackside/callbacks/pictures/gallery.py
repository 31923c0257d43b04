"""Pictures that a thread draws: PNG files in the run's folder, then every tracker that shows them.

The loop only brings numbers to host memory. A finished picture is handed to the trackers at the
next record, under the step that it shows; what is left at the end is drawn before they close. A
checkpoint waits for what is under way, and holds what no tracker was given: a kill loses none.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trackside.checkpoint.files import replace_file
from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run
from trackside.schedule import Schedule
from trackside.step.evaluation import PREDICT
from trackside.tracking.background import BackgroundQueue
from trackside.tracking.media import Media, Picture
from trackside.tracking.schedule_ledger import ScheduleLedger
from trackside.tracking.undelivered import Waiting, state_of, waiting_in

Draw = Callable[[Any], None]
"""Fills an empty matplotlib `Figure`; called in the thread, with host data only."""

DOTS_PER_INCH = 100
WAITING_AT_MOST = 32
FLUSH_SECONDS = 120.0

_DRAWING = threading.Lock()
"""One figure at a time: what matplotlib keeps for all figures isn't made for several threads."""


class Gallery:
    """Draws pictures one after another, in a thread that lives from the first one to `close`.

    Args:
        owner: Name of the callback, for messages.

    Raises:
        ConfigurationError: matplotlib isn't installed.
    """

    def __init__(self, owner: str) -> None:
        needs = partial(optional_package, needed_by=owner, extra="pictures")
        # Without pyplot: it would choose a window system, and keep figures, for the whole program.
        self._make_figure = needs("matplotlib.figure").Figure
        self._canvas = needs("matplotlib.backends.backend_agg").FigureCanvasAgg
        self.owner = owner
        self._delivery: BackgroundQueue | None = None
        self._finished: deque[tuple[str, Picture]] = deque()
        self._newest: dict[Path, int] = {}
        """Steps of the newest versions of files that are replaced."""

    def show(
        self,
        run: Run,
        name: str,
        draw: Draw,
        size_inches: tuple[float, float],
        *,
        caption: str = "",
        file: str | None = None,
    ) -> None:
        """Have a picture drawn soon; does nothing but on rank 0.

        Args:
            run: The run.
            name: For the trackers, such as `val/predictions`.
            draw: What is in it.
            size_inches: Width and height, at 100 dots per inch.
            caption: A sentence for the trackers.
            file: Below the run's folder, replaced each time; a version that isn't drawn yet when
                the next one comes is left out. None takes `pictures/<name>/step-0000000100.png`.

        Raises:
            Exception: What went wrong with an earlier picture, once.
        """
        if not run.world.is_global_zero:
            return
        step = run.progress.steps_completed
        ledger = ScheduleLedger.of(run, self.owner, reads=False)
        ledger.note("due", name, step)
        path = run.directory / (file or f"pictures/{name}/step-{step:010d}.png")
        if file is not None:
            self._newest[path] = step
        if self._delivery is None:
            self._delivery = BackgroundQueue(
                f"the pictures of {self.owner}",
                capacity=WAITING_AT_MOST,
                attempts=1,  # a drawing that fails will fail again
                try_again=False,
                flush_seconds=FLUSH_SECONDS,
            )
        make = partial(self._make, name, draw, size_inches, path, caption, step)
        self._delivery.put(partial(_noted, ledger, name, step, make))
        ledger.raise_error()

    def state_dict(self) -> dict[str, Any]:
        """Pictures that no tracker has been given yet; those under way are drawn first."""
        if self._delivery is not None:
            self._delivery.flush(FLUSH_SECONDS)
        finished = [Waiting("picture", n, p.step or 0, n, p) for n, p in list(self._finished)]
        return state_of(finished)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have the pictures of `state` given to the trackers with the next record."""
        self._finished = deque((one.name, one.medium) for one in waiting_in(state))

    def hand_on(self, run: Run) -> None:
        """Give what is finished to the trackers. In the loop's thread: events belong to it."""
        while self._finished:
            name, picture = self._finished.popleft()
            run.emit(Media.on_picture, name, picture)

    def close(self, run: Run) -> None:
        """Draw what is left, hand it on, and end the thread.

        Raises:
            Exception: What went wrong with a picture.
        """
        delivery, self._delivery = self._delivery, None
        try:
            if delivery is not None:
                delivery.close()
        finally:
            self.hand_on(run)

    def _make(
        self,
        name: str,
        draw: Draw,
        size_inches: tuple[float, float],
        path: Path,
        caption: str,
        step: int,
    ) -> None:
        with _DRAWING:
            if self._newest.get(path, step) != step:
                return
            figure = self._make_figure(figsize=size_inches, dpi=DOTS_PER_INCH, layout="constrained")
            self._canvas(figure)
            draw(figure)
            stream = io.BytesIO()
            figure.savefig(stream, format="png")
            pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        temporary.unlink(missing_ok=True)  # of a run that was killed in the middle of this picture
        replace_file(path, stream.getvalue(), temporary)
        self._finished.append((name, Picture(pixels, path, caption, step)))


def _noted(ledger: ScheduleLedger, name: str, step: int, make: Callable[[], None]) -> None:
    ledger.note("begun", name, step)
    make()
    ledger.note("done", name, step)


class PictureCallback(PeriodicCallback):
    """A callback that shows pictures in its `on_due`, by `self.gallery.show(run, ...)`.

    One with an attribute `data` shows them in `Trainer.evaluate(..., name=data)` too, and, where
    that is `predict`, after `Trainer.predict`.

    Args:
        every: When; None never by itself.

    Raises:
        ConfigurationError: matplotlib isn't installed.
    """

    effect = "observes"
    on_error = "warn"

    def __init__(self, every: Schedule | str | None) -> None:
        super().__init__(every)
        self.gallery = Gallery(type(self).__name__)

    def on_log(self, run: Run, record: Record) -> None:
        self.gallery.hand_on(run)

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        if run.mode == "evaluate":
            self._show_once(run, evaluation.name)

    def on_predict_end(self, run: Run) -> None:
        self._show_once(run, PREDICT)

    def state_dict(self) -> dict[str, Any]:
        return self.gallery.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gallery.load_state_dict(state)

    def _show_once(self, run: Run, name: str) -> None:
        """Show it now where it is about this data: an evaluation alone has no schedule."""
        if getattr(self, "data", None) == name and self.every is not None:
            self.on_fit_start(run)
            self.on_due(run)

    def on_fit_end(self, run: Run) -> None:
        super().on_fit_end(run)
        self.gallery.close(run)

    def on_exception(self, run: Run, error: BaseException) -> None:
        # Here and not in `on_close`: the trackers are still open.
        self.gallery.close(run)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.gallery.close(run)
