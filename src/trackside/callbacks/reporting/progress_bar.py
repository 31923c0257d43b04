"""`ProgressBar`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, final

from rich.live import Live
from rich.text import Text

from trackside.callbacks.reporting import terminal
from trackside.callbacks.reporting.notebook import NotebookLine
from trackside.callbacks.reporting.status_line import Pace, bar, fraction, standing, words
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run


@final
class ProgressBar(RankZeroCallback):
    """Shows where the run stands: a live bar in a terminal, plain lines where there is none.

    The bar shows epoch, step, the loss of the last record, samples per second, the time left, and
    the evaluation under way. What the program prints appears above it. It reads the run from a
    separate thread: a step costs nothing. In a notebook the bar is a line of its cell that is
    redrawn in place, and captures nothing that others print. In a file and in captured output, one
    plain line is printed per interval.

    Args:
        refresh_per_second: How often the bar is redrawn, in times per second.
        plain_every_seconds: Seconds between two plain lines, where there is no bar.

    Example:
        >>> ProgressBar(plain_every_seconds=60)
        ProgressBar(plain_every_seconds=60)
    """

    effect = "observes"
    settable = ("refresh_per_second", "plain_every_seconds")
    on_error = "warn"

    def __init__(
        self, *, refresh_per_second: float = 4.0, plain_every_seconds: float = 30.0
    ) -> None:
        if not refresh_per_second > 0 or not plain_every_seconds > 0:
            raise ConfigurationError(
                "a bar is redrawn at a positive rate, plain lines come at a positive interval",
                received=f"{refresh_per_second=}, {plain_every_seconds=}",
                option="plain_every_seconds" if refresh_per_second > 0 else "refresh_per_second",
            )
        self.refresh_per_second = refresh_per_second
        self.plain_every_seconds = plain_every_seconds
        self._run: Run | None = None
        self._live: Live | None = None
        self._line: NotebookLine | None = None
        self._clock: _Clock | None = None
        self._pace = Pace()
        self._predicted_batches = 0

    def on_attach(self, run: Run) -> None:
        self._run, self._pace, self._predicted_batches = run, Pace(), 0

    def on_fit_start(self, run: Run) -> None:
        self._start(run)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self._start(run)

    def on_predict_start(self, run: Run) -> None:
        self._start(run)

    def on_predict_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self._predicted_batches += 1

    def on_close(self, run: Run, outcome: Outcome) -> None:
        live, line, clock = self._live, self._line, self._clock
        self._live = self._line = self._clock = None
        try:
            if clock is not None:
                clock.stop()
        finally:
            if live is not None:
                live.stop()  # draws the last standing
            if line is not None:
                self._draw(line)
            self._run = None

    def _start(self, run: Run) -> None:
        if self._clock is not None:
            return
        console = terminal.console()
        if console.is_jupyter:
            line = self._line = NotebookLine()
            self._draw(line)
            self._clock = _Clock(lambda: self._draw(line), 1 / self.refresh_per_second)
        elif terminal.shows_live(console):
            terminal.give_workers_their_own_output()
            live = Live(
                console=console,
                get_renderable=self._drawn,
                auto_refresh=False,  # rich's own thread isn't waited for when it stops
                transient=run.mode != "fit",
            )
            self._live = live
            live.start(refresh=True)
            self._clock = _Clock(live.refresh, 1 / self.refresh_per_second)
        else:
            self._clock = _Clock(self._print_line, self.plain_every_seconds)

    def _draw(self, line: NotebookLine) -> None:
        run = self._run
        if run is not None:
            at = standing(run, self._predicted_batches)
            line.draw(fraction(at), words(at, *self._pace.read(monotonic(), at)))

    def _print_line(self) -> None:
        run = self._run
        if run is not None:
            at = standing(run, self._predicted_batches)
            done = fraction(at)
            percent = "" if done is None else f" · {done:.0%}"
            terminal.say(words(at, *self._pace.read(monotonic(), at)) + percent)

    def _drawn(self) -> Text:
        run = self._run
        if run is None:
            return Text("")
        at = standing(run, self._predicted_batches)
        text = words(at, *self._pace.read(monotonic(), at))
        width = min(40, terminal.console().width - len(text) - 2)
        full, empty = bar(fraction(at), width)
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        line.append(full, "cyan").append(empty, "bright_black")
        return line.append(" " if full or empty else "").append(text)


class _Clock:
    """Calls a function at a steady interval, in its own thread, until it is stopped."""

    def __init__(self, call: Callable[[], None], every_seconds: float) -> None:
        self._call = call
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            try:
                self._call()
            except Exception as error:  # raised by `stop`, in the thread that can report it
                self._error = error
                return

    def stop(self) -> None:
        """End the thread; raises the error that ended it before, if one did."""
        self._stopped.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
