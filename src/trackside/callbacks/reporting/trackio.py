"""`Trackio`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, final
from uuid import uuid4

from trackside.errors import ConfigurationError
from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.outcome import Outcome
from trackside.tracking.media import Audio, File, Histogram, Picture, Table, Text, Video
from trackside.tracking.tracker import TrackedRun, Tracker

RESERVED = frozenset({"project", "run", "timestamp", "step", "time", "metrics"})
"""Names of Trackio's own columns: a metric of such a name is refused."""


@final
class Trackio(Tracker):
    """Keeps records, media and files in Trackio's local store.

    Look at them with `trackio show`; `trackio sync` takes a project to a Space of Hugging Face, or
    to a server. Each row is in the store, a database in `TRACKIO_DIR`, before the next begins: a
    kill loses none. A resumed run goes on as the same run, and rows that were written before it was
    killed aren't written again. A thread writes: training doesn't wait for the disk.

    Needs `pip install 'trackside[trackio]'`.

    Args:
        project: Name of the project; made when it doesn't exist.
        name: Name of the run; None takes the name of the run's folder.
        group: Group of runs that it belongs to.

    Raises:
        ConfigurationError: The package isn't installed, or its store isn't a database: on a network
            file system Trackio only appends to files.

    Example:
        >>> Trackio("digits")
        Trackio('digits')
    """

    title = "Trackio"

    def __init__(
        self, project: str = "trackside", *, name: str | None = None, group: str | None = None
    ) -> None:
        self._trackio = optional_package("trackio", needed_by="Trackio", extra="trackio")
        self.project = project
        self.run_name = name
        self.group = group
        self._called = ""
        """Name of the run that is under way."""
        self._settings: dict[str, Any] | None = None
        """The configuration, until a row takes it along."""
        self._sent: frozenset[tuple[str, int]] = frozenset()
        """Names and steps in the store before a resume."""

    @property
    def _store(self) -> Any:
        # Not `trackio.init`: what its runs are given waits in a thread of theirs, where a kill
        # loses it and an error is only printed.
        return self._trackio.SQLiteStorage

    def open(self, beginning: TrackedRun) -> None:
        """Find the run in the store, if it is there."""
        mode = self._trackio.utils.get_storage_mode()
        if mode != "sqlite":
            raise ConfigurationError(
                "Trackio's folder is on a network file system",
                expected="a local folder, where it keeps a database",
                received=f"{self._trackio.TRACKIO_DIR} (storage mode {mode})",
                remedy="set TRACKIO_DIR to a local folder, or TRACKIO_STORAGE_MODE=sqlite",
            )
        self._store.validate_project_name(self.project)
        self.run_id = self.run_id or beginning.id
        self._called = self.run_name or beginning.name
        rows = self._store.get_logs(self.project, run_id=self.run_id) if beginning.step else []
        self._sent = frozenset((name, row["step"]) for row in rows for name in row)
        if self._store.get_run_config(self.project, run_id=self.run_id) is None:
            created = datetime.now(UTC).isoformat()
            given = {**beginning.parameters, "_Created": created, "_Group": self.group}
            self._settings = self._trackio.utils.to_json_safe(given)

    def was_sent(self, name: str, step: int) -> bool:
        """Whether the store has a value of that step."""
        return (name, step) in self._sent

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Write a row: the metrics, with samples, seconds, and tokens where steps count them.

        Raises:
            ValueError: Trackio keeps a name for itself.
        """
        if taken := RESERVED & values.keys():
            raise ValueError(f"{', '.join(sorted(taken))}: a name of Trackio's own columns")
        tokens = {} if record.tokens is None else {"tokens": record.tokens}
        axes = {"samples": record.samples, **tokens, "seconds": record.seconds}
        self._write({**axes, **values}, record.step, datetime.fromtimestamp(unix_time, UTC))

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Show a picture under its step."""
        image = self._trackio.Image(picture.pixels, caption=picture.caption or None)
        self._write_medium(name, image, step)

    def write_histogram(self, name: str, histogram: Histogram, step: int) -> None:
        """Show a histogram under its step."""
        pair = (histogram.counts, histogram.edges)
        self._write({name: self._trackio.Histogram(np_histogram=pair)._to_dict()}, step)

    def write_text(self, name: str, text: Text, step: int) -> None:
        """Show a text, as Markdown, under its step."""
        self._write({name: self._trackio.Markdown(text.text)._to_dict()}, step)

    def write_table(self, name: str, table: Table, step: int) -> None:
        """Show a table under its step."""
        rows = [list(row) for row in table.rows]
        shown = self._trackio.Table(columns=list(table.columns), data=rows)
        self._write({name: shown._to_dict(project=self.project, run=self._called, step=step)}, step)

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        """Let people hear a sound under its step."""
        self._write_from_file(name, self._trackio.Audio, audio.wav(), ".wav", audio.caption, step)

    def write_video(self, name: str, video: Video, step: int) -> None:
        """Show a film under its step."""
        self._write_from_file(name, self._trackio.Video, video.gif(), ".gif", video.caption, step)

    def write_file(self, name: str, file: File, step: int) -> None:
        """Keep a file or a folder as an artifact; one that has changed becomes its next version."""
        artifact = self._trackio.Artifact(name.replace("/", "-"), type=file.kind)
        add = artifact.add_dir if file.path.is_dir() else artifact.add_file
        add(file.path)
        self._store.commit_artifact_version(
            project=self.project,
            name=artifact.name,
            type=artifact.type,
            description=None,
            manifest=artifact._build_manifest(self.project),
            metadata={"step": step},
            aliases=[],
            run_name=self._called,
            run_id=self.run_id,
        )

    def close(self, outcome: Outcome) -> None:
        """Keep how the run ended, as a text."""
        self._write({"outcome": self._trackio.Markdown(str(outcome))._to_dict()}, outcome.step)

    def _write_from_file(
        self, name: str, kind: Any, content: bytes, suffix: str, caption: str, step: int
    ) -> None:
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(content)
            file.flush()
            self._write_medium(name, kind(file.name, caption=caption or None), step)

    def _write_medium(self, name: str, medium: Any, step: int) -> None:
        medium._save(self.project, self._called, step)
        self._write({name: medium._to_dict()}, step)

    def _write(self, row: Mapping[str, Any], step: int, at: datetime | None = None) -> None:
        """Write a row at once; an attempt that fails leaves none behind."""
        self._store.bulk_log(
            project=self.project,
            run=self._called,
            run_id=self.run_id,
            metrics_list=[dict(row)],
            steps=[step],
            timestamps=[(at or datetime.now(UTC)).isoformat()],
            config=self._settings,
            log_ids=[uuid4().hex],
        )
        self._settings = None
