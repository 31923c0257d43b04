"""Provenance of a run, kept in its folder: configuration, versions, commit."""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, final

from trackside.callbacks.reporting.decisions import decisions_of
from trackside.callbacks.reporting.error_places import notes_of, places_of
from trackside.callbacks.reporting.git_state import GitState
from trackside.callbacks.reporting.journal import Journal, now
from trackside.callbacks.reporting.phases import Phases
from trackside.callbacks.reporting.report_page.sessions import read_journal
from trackside.checkpoint import candidates
from trackside.errors import printable
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run
from trackside.run_folder.inside import replace_inside
from trackside.run_folder.names import (
    CHANGES,
    CONFIGURATION,
    DEFAULTS,
    ENVIRONMENT,
    OUTCOME,
    SETTINGS,
)
from trackside.secret import as_written
from trackside.vocabulary.directions import direction

logger = logging.getLogger("trackside")


@final
class Provenance(RankZeroCallback):
    """Writes down what a run was made from, when training begins, and how it ended.

    `config.yaml` has the whole configuration of a run from a file, merged and filled in: it can be
    run again. `settings.json` has those of a run made in Python, and the function that made it,
    where that was marked with `@trackside.program`: the run can then be resumed and evaluated from
    the command line. `defaults.json` has the defaults of the options of both, those that were left
    as they are among them, so that a report can mark what differs.
    `environment.json` has Python, the machine, the versions of all packages, and the git commit;
    `changes.diff` what was not committed, when there was something. `outcome.json` has how the run
    ended (of an error, the lines of one's own code that it passed, and its notes), its best values,
    the time that each callback took, and updates that were not made; it is not there while the run
    goes on, and after a kill. A start that is refused before training begins leaves it as it is.
    `journal.jsonl` has a line for each session (a resume begins another) with the overrides that
    it alone was given, its end, each warning, and each checkpoint that was written or deleted, with
    the seconds that each phase has taken so far.

    Args:
        configuration: The configuration as YAML; None for a run that was made in Python.
        search_path: Folders of its files, where the modules that it names may lie.
        defaults: Defaults of its options, by their places: `optimizer/lr`.

    Example:
        >>> Provenance()
        Provenance()
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"  # what is lost is a note about the run, not the run

    def __init__(
        self,
        configuration: str | None = None,
        search_path: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.configuration = configuration
        self.search_path = tuple(search_path)
        self.defaults = dict(defaults or {})
        self.overrides: tuple[str, ...] = ()
        """Changes that this session alone is given; no option, by which a resume would differ."""
        self._journal: Journal | None = None
        self._git: GitState | None = None
        self._phases = Phases()
        self._checkpoints: dict[str, Path] = {}
        self._began = False

    def __repr__(self) -> str:
        return "Provenance()" if self.configuration is None else "Provenance(...)"

    def on_attach(self, run: Run) -> None:
        """Let git answer while the run is set up."""
        self._began = False
        self._git = GitState(Path.cwd())
        self._phases = Phases()
        self._phases.session_begins()

    def on_fit_start(self, run: Run) -> None:
        """Write what is known; a resumed run keeps what it was begun with."""
        self._began = True
        self._phases.training_begins(run)
        (run.directory / OUTCOME).unlink(missing_ok=True)
        self._journal = _begun(run, self.overrides)
        self._checkpoints = _kept_before(run)
        if run.resumed_from is not None and (run.directory / ENVIRONMENT).is_file():
            return
        if self.configuration is None:
            replace_inside(run.directory, SETTINGS, json.dumps(dict(run.config), indent=2) + "\n")
        else:
            replace_inside(run.directory, CONFIGURATION, self.configuration)
        if self.defaults:
            replace_inside(run.directory, DEFAULTS, json.dumps(self.defaults, indent=2) + "\n")
        commit, changes = self._git.read() if self._git is not None else (None, "")
        environment = describe_environment(commit, changes)
        environment["search_path"] = list(self.search_path)
        replace_inside(run.directory, ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
        if changes:
            replace_inside(run.directory, CHANGES, as_written(changes))

    def on_log(self, run: Run, record: Record) -> None:
        if self._journal is not None:
            self._journal.step = record.step

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self._phases.evaluation_begins(run)

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        self._phases.evaluation_ends(run)

    def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
        """Write that there is one more, and which are gone since the last."""
        if self._journal is None:
            return
        phases = self._phases.seconds(run)
        self._journal.write("checkpoint", name=checkpoint.name, phases=phases)
        for name, path in list(self._checkpoints.items()):
            if not path.is_dir():
                del self._checkpoints[name]
                self._journal.write("deleted", name=name)
        self._checkpoints[checkpoint.name] = checkpoint

    def on_fit_end(self, run: Run) -> None:
        """Write the time of each phase, for reports that are made before the end."""
        if self._journal is not None:
            self._journal.write("phases", phases=self._phases.seconds(run))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Write how it ended."""
        if self._git is not None:
            self._git.close()
            self._git = None
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.step = outcome.step
            reason, asked_by = printable(outcome.reason), outcome.asked_by
            ended = {"status": outcome.status.value, "reason": reason, "asked_by": asked_by}
            journal.end({**ended, "phases": self._phases.seconds(run)})
        if not self._began or not (run.directory / ENVIRONMENT).is_file():
            return  # the outcome that the folder has is that of another run, or session
        written = {
            "status": outcome.status.value,
            "reason": outcome.reason,
            "asked_by": outcome.asked_by,
            **({} if outcome.error is None else _error(outcome.error)),
            "step": outcome.step,
            "epoch": run.progress.epochs_completed,
            "samples": run.progress.samples_completed,
            "seconds": run.progress.seconds,
            "ended": now(),
            "best": {
                name: {"value": best.value, "step": best.record.step}
                for name in run.history.names
                if (mode := direction(name)) is not None
                and (best := run.history.best(name, mode)) is not None
            },
            "callback_seconds": run.callback_seconds,
            "data_wait_seconds": run.data_wait_seconds,
            "compilations": run.compilations,
            "compile_seconds": run.compile_seconds,
            **decisions_of(run),
        }
        replace_inside(run.directory, OUTCOME, json.dumps(written, indent=2) + "\n")


def _error(error: BaseException) -> dict[str, list[str]]:
    return {"places": places_of(error), "notes": notes_of(error)}


def _begun(run: Run, overrides: Sequence[str]) -> Journal | None:
    """The journal, with this session in it; a journal that can't be written costs nothing else."""
    forgotten = _forgotten(run, overrides)
    try:
        journal = Journal(run.directory)
        step = run.progress.steps_completed
        journal.begin(run.id, step, run.world.size, run.resumed_from, overrides)
    except OSError as error:
        logger.warning("the run has no journal of its sessions and warnings: %s", error)
        return None
    if forgotten:
        logger.warning(
            "the session before was given %s, and this one was not: each resume takes what the "
            "run was begun with, and its own overrides",
            ", ".join(forgotten),
        )
    return journal


def _forgotten(run: Run, overrides: Sequence[str]) -> list[str]:
    """Overrides of the session before, of options that this one is given no value for."""
    sessions = [] if run.resumed_from is None else read_journal(run.directory).sessions
    given = {_option(one) for one in overrides}
    return [one for s in sessions[-1:] for one in s.overrides if _option(one) not in given]


def _option(override: str) -> str:
    return override.partition("=")[0].lstrip("~")


def _kept_before(run: Run) -> dict[str, Path]:
    """Checkpoints of earlier sessions, by name."""
    if run.saver is None or run.resumed_from is None:
        return {}
    return {one.path.name: one.path for one in candidates(run.saver.root(run), run_id=run.id)}


def describe_environment(commit: str | None, changes: str) -> dict[str, Any]:
    """Python, machine, packages, and the state of the git repository, as plain values.

    Args:
        commit: Where the repository stands; None where there is none.
        changes: The diff since then.
    """
    return {
        "started": now(),
        "command": [as_written(word) for word in sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(_packages().items(), key=lambda item: item[0].lower())),
        "git_commit": commit,
        "git_changes": bool(changes),
    }


@cache
def _packages() -> dict[str, str]:
    """Versions of the packages that are installed, by name; read once, which takes a while."""
    return {found.name: found.version for found in distributions()}
