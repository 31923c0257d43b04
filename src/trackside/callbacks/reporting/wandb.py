"""`WandB`."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, Literal, final

from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import write_inside
from trackside.secret import as_written
from trackside.tracking.media import Audio, File, Histogram, Picture, Table, Text, Video
from trackside.tracking.tracker import TrackedRun, Tracker

logger = logging.getLogger("trackside")

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@final
class WandB(Tracker):
    """Sends records, media and files to Weights & Biases.

    The run's id is part of checkpoints: a resumed run goes on under the same id, and rows that were
    sent before it was killed aren't sent again, offline neither. `step` is the
    horizontal axis; epoch, samples and seconds are sent too. Everything, the log-in included,
    happens in a thread: a slow or missing network costs no step. What can't be sent after some
    attempts is reported as a warning. Where the command line holds a secret, W&B
    gets no description of the machine and the program: the command line would be part of it.

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
        WandB('digits', mode='offline')
    """

    title = "Weights & Biases"

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
        self._run: Any = None
        self._directory, self._note = Path(), ""
        self._sent: tuple[int, frozenset[str]] = (0, frozenset())
        """Step and names of the last row before a resume."""
        self._newest: tuple[int, frozenset[str]] = (0, frozenset())

    def rehearse_in(self, folder: Path) -> bool:
        """Keep a rehearsal offline; returns whether to take part in it."""
        self._options["mode"] = "disabled"
        return True

    def on_fit_start(self, run: Run) -> None:
        # Not from Python's generator: observing must not change what training draws.
        self.run_id = self.run_id or "".join(secrets.choice(_LETTERS) for _ in range(8))
        run.directory.mkdir(parents=True, exist_ok=True)
        super().on_fit_start(run)

    def open(self, beginning: TrackedRun) -> None:
        """Log in, and begin the run or go on with it."""
        arguments: dict[str, Any] = {
            "project": self.project,
            "name": self.run_name or beginning.name,
            "id": self.run_id,
            "resume": "allow",
            "dir": str(beginning.directory),
            "config": dict(beginning.config),
            "reinit": "create_new",
            **self._options,
        }
        if _has_secret(sys.argv):
            logger.warning(
                "Weights & Biases gets no description of the machine and the program: the command "
                "line, which would be part of it, holds a secret"
            )
            arguments["settings"] = self._without_metadata(arguments.get("settings"))
        self._run = self._wandb.init(**arguments)
        self._directory, self._note = beginning.directory, f"wandb/sent-{self.run_id}.json"
        note = beginning.directory / self._note
        self._sent = _read(note) if beginning.step else (0, frozenset())
        self._newest = self._sent
        # Its own counter can't go back to the checkpoint after a resume: ours is the axis.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _without_metadata(self, given: Any) -> Any:
        """Settings of W&B, given or not, with which it keeps no command line."""
        if isinstance(given, self._wandb.Settings):
            return given.model_copy(update={"x_disable_meta": True})
        return self._wandb.Settings(**{**(given or {}), "x_disable_meta": True})

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Send a row: the metrics, and all axes."""
        axes = {name: value for name, value in record.row().items() if name not in record.values}
        self._run.log({**values, **axes})
        step, names = self._newest
        known = names | values.keys() if step == record.step else values.keys()
        self._newest = (record.step, frozenset(known))
        # W&B keeps what it is given in a process beside this one: a kill doesn't lose it.
        text = json.dumps([record.step, sorted(known)]).encode()
        write_inside(self._directory, self._note, lambda stream: stream.write(text))

    def was_sent(self, name: str, step: int) -> bool:
        """Whether a row of that step was given to W&B, as a note in the run's folder says."""
        newest, names = self._sent
        return step < newest or (step == newest and name in names)

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Show a picture under its step."""
        image = self._wandb.Image(picture.pixels, caption=picture.caption or None)
        self._run.log({name: image, "step": step})

    def write_histogram(self, name: str, histogram: Histogram, step: int) -> None:
        """Show a histogram under its step."""
        pair = (histogram.counts, histogram.edges)
        self._run.log({name: self._wandb.Histogram(np_histogram=pair), "step": step})

    def write_text(self, name: str, text: Text, step: int) -> None:
        """Show a text under its step."""
        self._run.log({name: self._wandb.Html(f"<pre>{escape(text.text)}</pre>"), "step": step})

    def write_table(self, name: str, table: Table, step: int) -> None:
        """Show a table under its step."""
        rows = [list(row) for row in table.rows]
        self._run.log({name: self._wandb.Table(list(table.columns), rows), "step": step})

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        """Let people hear a sound under its step."""
        with _as_file(audio.wav(), ".wav") as path:
            self._run.log({name: self._wandb.Audio(path, caption=audio.caption), "step": step})

    def write_video(self, name: str, video: Video, step: int) -> None:
        """Show a film under its step."""
        with _as_file(video.gif(), ".gif") as path:
            film = self._wandb.Video(path, caption=video.caption, format="gif")
            self._run.log({name: film, "step": step})

    def write_file(self, name: str, file: File, step: int) -> None:
        """Keep a file or a folder as an artifact."""
        artifact = self._wandb.Artifact(f"{self.run_id}-{name}", file.kind)
        add = artifact.add_dir if file.path.is_dir() else artifact.add_file
        add(str(file.path))
        self._run.log_artifact(artifact)

    def close(self, outcome: Outcome) -> None:
        """End the run with the exit code of its outcome."""
        self._run.finish(exit_code=outcome.exit_code)
        self._run = None


def _has_secret(words: Sequence[str]) -> bool:
    return any(as_written(word) != word for word in words)


@contextmanager
def _as_file(content: bytes, suffix: str) -> Iterator[str]:
    """The path of a file that is there inside: W&B takes its own copy."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        yield file.name


def _read(note: Path) -> tuple[int, frozenset[str]]:
    """Step and names of the last row; none where the note isn't there, or was cut off by a kill."""
    try:
        step, names = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0, frozenset()
    return int(step), frozenset(names)
