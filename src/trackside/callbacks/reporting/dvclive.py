"""`DVCLive`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.outcome import Outcome
from trackside.run_folder.inside import folder_inside, inside, replace_inside, unlinked
from trackside.tracking.media import Picture
from trackside.tracking.tracker import TrackedRun, Tracker

FOLDER = "dvclive"
"""Folder in the run's folder."""
TABLES, PICTURES = "plots/metrics", "plots/images"
"""Where DVCLive keeps them in it."""
AXES = ("epoch", "samples", "tokens", "seconds")
"""Tables of them are written beside those of the metrics, with a row for each step."""
RESERVED = frozenset({"step", "outcome", "samples", "tokens", "seconds"})
"""Names that DVCLive, or this tracker, keeps for itself."""
LONGEST_PART = 200
"""Bytes of a folder's or file's name."""


@final
class DVCLive(Tracker):
    """Writes records, the configuration and pictures as DVCLive's files, which DVC reads.

    They are in `dvclive` in the run's folder: a table for each metric, the last values, the
    parameters, pictures, and a `dvc.yaml` that says where these are. `dvc plots show`, `dvc metrics
    show` and the extension of VS Code find them in a repository of DVC; `dvc exp save` keeps them.
    This callback itself makes no repository, no experiment and no commit, and sends nothing.

    A resumed run goes on in the same files, without what was written after the checkpoint. Each
    value is in its file before the next begins: a kill loses none. A thread writes: training
    doesn't wait for the disk.

    Needs `pip install 'trackside[dvclive]'`.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> DVCLive()
        DVCLive()
    """

    title = "DVCLive"
    metrics_at_once = 1
    drops_later = True

    def __init__(self) -> None:
        self._module = optional_package("dvclive.live", needed_by="DVCLive", extra="dvclive")
        self._folder = Path()
        self._live: Any = None
        self._begun: set[str] = set()
        """Tables and kinds of files that this life has written to."""
        self._sent: frozenset[tuple[str, int]] = frozenset()
        """Names and steps in the files before a resume."""
        self._axes_at = -1
        """The step whose axes were written last."""

    def rehearse_in(self, folder: Path) -> bool:
        """Take part: what it writes is in the run's folder."""
        return True

    def open(self, beginning: TrackedRun) -> None:
        """Begin the files, or go on with those that are there."""
        self._folder = folder_inside(beginning.directory, FOLDER)
        for name in ("plots", TABLES, PICTURES):  # DVCLive clears them, through links too
            folder_inside(self._folder, name)
        for name in ("params.yaml", "metrics.json"):
            unlinked(self._folder / name)
        self.run_id, self._begun = self.run_id or beginning.id, set()
        self._live = _only_files(self._module.Live)(
            str(self._folder),
            resume=beginning.step > 0,
            save_dvc_exp=False,
            dvcyaml=str(self._folder / "dvc.yaml"),
        )
        self._keep_until(beginning.step)
        # Each time: a kill may have cut the file off.
        self._live.log_params(json.loads(json.dumps(dict(beginning.config), default=str)))
        self._describe("parameters")

    def was_sent(self, name: str, step: int) -> bool:
        """Whether the files have a value of that step."""
        return (name, step) in self._sent

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Add a row to the table of each metric, and to those of epoch, samples and seconds.

        Raises:
            ValueError: DVCLive can't take a name.
        """
        if self._axes_at != record.step:
            self._axes_at = record.step
            for name, value in record.row().items():
                if name in AXES and not self.was_sent(name, record.step):
                    self._write(name, value, record.step)
        for name, value in values.items():
            if name != "epoch":
                _check(name)
                self._group_of(name)
                self._write(name, value, record.step)

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Show a picture under its step."""
        _check(name)
        self._live.step = step
        unlinked(inside(self._folder, f"{PICTURES}/{name}/{step}.png"))
        self._live.log_image(f"{name}/{step}.png", picture.pixels)
        self._describe("pictures")

    def rewind(self, step: int) -> None:
        """Drop what lies after `step`."""
        self._keep_until(step)

    def settle(self) -> None:
        """Write the last value of each metric."""
        self._live.make_summary()

    def close(self, outcome: Outcome) -> None:
        """Write the last values, and how the run ended among them."""
        self._live.summary["outcome"] = str(outcome)
        self._live.make_summary()
        self._live = None

    def _write(self, name: str, value: float, step: int) -> None:
        if name not in self._begun:
            unlinked(inside(self._folder, f"{TABLES}/{name}.tsv"))
            self._begun.add(name)  # now: another attempt looks again where this one is refused
        self._live.step = step
        self._live.log_metric(name, value)
        self._describe("tables")

    def _group_of(self, name: str) -> dict[str, Any]:
        """The group of last values that a name belongs to: `val` for `val/loss`."""
        group: dict[str, Any] = self._live.summary
        *above, last = name.split("/")
        for part in above:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise ValueError(f"{part!r} is a metric, and can't be a group of metrics too")
        if isinstance(group.get(last), dict):
            raise ValueError(f"{last!r} is a group of metrics, and can't be a metric too")
        return group

    def _describe(self, kind: str) -> None:
        """Say in `dvc.yaml` where to find a kind of files, once there is one."""
        mark = f"{kind} in dvc.yaml"
        if mark not in self._begun:
            self._begun.add(mark)
            (self._folder / "dvc.yaml").unlink(missing_ok=True)
            self._live.make_dvcyaml()

    def _keep_until(self, step: int) -> None:
        """Drop rows and pictures of later steps, and take the last values from what stays."""
        self._live.summary, self._axes_at, sent = {}, -1, set()
        for table in sorted(self._folder.glob(f"{TABLES}/**/*.tsv")):
            head, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
            kept = [row for row in rows if row.endswith("\n") and _step_of(row) <= step]
            place = table.relative_to(self._folder)
            if not kept:  # it begins again, with its head
                table.unlink()
                continue
            replace_inside(self._folder, str(place), head + "".join(kept))
            name = place.relative_to(TABLES).with_suffix("").as_posix()
            sent |= {(name, _step_of(row)) for row in kept}
            self._group_of(name)[name.rpartition("/")[2]] = _value_of(kept[-1])
        self._sent = frozenset(sent)
        for picture in self._folder.glob(f"{PICTURES}/**/*.png"):
            if picture.stem.isdecimal() and int(picture.stem) > step:
                picture.unlink()


def _only_files(live: Any) -> Any:
    """DVCLive's class without what it does beside writing files.

    Its own makes a repository of DVC in one of Git, and asks a service whether it takes values;
    where a run is resumed, it reads files that a kill may have cut off.
    """

    def place_dvc_file(self: Any) -> None:
        self._dvc_file = self._init_dvc_file()

    def nothing(self: Any) -> None:
        pass

    steps = {"_init_dvc": place_dvc_file, "_init_studio": nothing, "_init_resume": nothing}
    return type("FilesOnly", (live,), steps)


def _check(name: str) -> None:
    """Raise `ValueError` for a name that can't be that of a file, or is kept for something else."""
    parts = name.split("/")
    if name in RESERVED or parts[-1] == "step":
        raise ValueError(f"{name!r} is a name that is kept for something else")
    if not name.isprintable() or any(
        part in ("", ".", "..") or len(part.encode()) > LONGEST_PART for part in parts
    ):
        raise ValueError(f"{name!r} can't be the name of a file")


def _step_of(row: str) -> int:
    return int(row.partition("\t")[0])


def _value_of(row: str) -> float | str:
    """The value of a row as DVCLive has it among the last values: NaN and infinities are text."""
    text = row.rstrip("\n").partition("\t")[2]
    return float(text) if math.isfinite(float(text)) else text
