"""The trials of a search, in a database that several processes share and that a kill leaves whole.

Exactly as many trials are begun as were asked for. A process takes one under a lock: a trial that
a killed process has left behind goes first, else a new one. Locks are of the system: the death of
a process opens them.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from trackside.errors import ConfigurationError
from trackside.imports.extras import optional_package
from trackside.search.space import Dimension, Value
from trackside.vocabulary.directions import Mode

logger = logging.getLogger("trackside")

DATABASE = "study.db"
STUDY = "sweep"
WHY = "why"
"""Attribute of a trial: how its run ended."""
CONFIGURATION = "configuration"
"""Attribute of the study: digest of the configuration that was trained last."""
LIVES = "lives"
"""Attribute of a trial: the steps from which processes have begun that did not end in order."""
State = Literal["complete", "pruned", "failed", "unfinished"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial as the tables show it."""

    number: int
    state: State
    value: float | None
    parameters: dict[str, Value]
    why: str = ""


@final
class Store:
    """The study of a sweep.

    Args:
        folder: Of the sweep; made where it isn't there.
        space: What is varied.
        monitor: Name of the metric that trials are compared by.
        mode: Which way it is better.
        seed: Of the values that are tried: with one process, the same values come again.
        prune: Whether trials that lag behind are ended early.
        configuration: Digest of that of the trials; another than before is warned of.

    Raises:
        ConfigurationError: Optuna isn't installed, or the folder holds another search.
    """

    def __init__(
        self,
        folder: Path,
        space: list[Dimension],
        monitor: str,
        mode: Mode,
        *,
        seed: int = 0,
        prune: bool = False,
        configuration: str = "",
    ) -> None:
        self.folder, self.space, self.seed = folder, space, seed
        self._optuna = optional_package("optuna", needed_by="trackside sweep", extra="search")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        self._held: dict[int, int] = {}
        """Files of the locks of trials that this process has, by number."""
        asked = {"space": {one.key: str(one) for one in space}, "monitor": monitor, "mode": mode}
        with self._alone():
            self._study = self._open(mode, prune)
            known = self._study.user_attrs.get("asked")
            if known is None:
                self._study.set_user_attr("asked", asked)
        if known not in (None, asked):
            raise ConfigurationError(
                f"{folder} holds another search",
                expected=f"{known}",
                received=f"{asked}",
                remedy="name another folder: --folder runs/another",
            )
        self._compare(configuration)

    def _compare(self, configuration: str) -> None:
        """Warn, once for each change, where earlier trials had another configuration."""
        if not configuration or configuration == self._study.user_attrs.get(CONFIGURATION):
            return
        if CONFIGURATION in self._study.user_attrs:
            logger.warning(
                "the configuration has changed since %s was begun: values of earlier trials may "
                "not compare with those of later ones; `--folder` begins another sweep",
                self.folder,
            )
        self._study.set_user_attr(CONFIGURATION, configuration)

    def take(self, trials: int) -> tuple[Any, dict[str, Value]] | None:
        """A trial to train, of Optuna, and its values; None where nothing is left for now."""
        with self._alone():
            known = self._study.get_trials(deepcopy=False)
            trial = self._left_behind(known)
            if trial is None and len(known) < trials:
                self._study.sampler = self._sampler(len(known))
                trial = self._study.ask()
                self._lock(trial.number)
            if trial is None:
                return None
            # One that was killed while it got its values keeps those that it has.
            return trial, {one.key: one.suggested(trial) for one in self.space}

    def _left_behind(self, known: list[Any]) -> Any:
        running = self._optuna.trial.TrialState.RUNNING
        for one in known:
            if one.state != running or one.number in self._held or not self._lock(one.number):
                continue
            # It may have ended, and let go of its lock, since it was read.
            if self._study.get_trials(deepcopy=False)[one.number].state == running:
                self._study.sampler = self._sampler(one.number)
                return self._optuna.trial.Trial(self._study, one._trial_id)
            self._unlock(one.number)
        return None

    def record(self, trial: Any, value: float | None, why: str, *, pruned: bool = False) -> None:
        """Keep how a trial ended; without a finite value, as failed."""
        states = self._optuna.trial.TrialState
        trial.set_user_attr(WHY, why)
        if pruned:
            self._study.tell(trial, state=states.PRUNED)
        elif value is None or not math.isfinite(value):
            self._study.tell(trial, state=states.FAIL)
        else:
            self._study.tell(trial, value)
        self.leave(trial)

    def begin(self, trial: Any, step: int) -> int:
        """Note that a trial begins or goes on at a step; the lives in a row that began there."""
        lives = [*trial.user_attrs.get(LIVES, ()), step]
        trial.set_user_attr(LIVES, lives)
        return sum(1 for _ in itertools.takewhile(step.__eq__, reversed(lives)))

    def leave(self, trial: Any, *, in_order: bool = False) -> None:
        """Let another process have a trial, which is unfinished if nothing was recorded of it.

        Args:
            trial: Of Optuna.
            in_order: Whether it was left where it can go on: that life is not counted.
        """
        if in_order:
            trial.set_user_attr(LIVES, trial.user_attrs[LIVES][:-1])
        self._unlock(trial.number)

    def is_over(self, trials: int) -> bool:
        """Whether all trials that were asked for have ended, in any process."""
        known = self.trials()
        return len(known) >= trials and all(one.state != "unfinished" for one in known)

    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        names: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        return [
            Trial(
                one.number,
                names.get(one.state.name, "unfinished"),
                one.value,
                dict(one.params),
                one.user_attrs.get(WHY, ""),
            )
            for one in self._study.get_trials(deepcopy=False)
        ]

    def _open(self, mode: Mode, prune: bool) -> Any:
        pruners, storages = self._optuna.pruners, self._optuna.storages
        file = self.folder / DATABASE
        try:
            storage = storages.RDBStorage(
                f"sqlite:///{file}",
                engine_kwargs={"connect_args": {"timeout": 60}},  # seconds, while others write
            )
        except Exception as error:  # of SQLAlchemy or Optuna, by what the file holds
            raise ConfigurationError(
                f"{file} can't be opened as the database of a sweep",
                received=f"{type(error).__name__}: {error}".partition("\n")[0],
                remedy="name another folder (--folder runs/another), or move that file away",
            ) from error
        return self._optuna.create_study(
            storage=storage,
            study_name=STUDY,
            direction="minimize" if mode == "min" else "maximize",
            pruner=pruners.MedianPruner() if prune else pruners.NopPruner(),
            load_if_exists=True,
        )

    def _sampler(self, number: int) -> Any:
        # One for each trial: processes draw different values, and a kill changes none.
        return self._optuna.samplers.TPESampler(seed=self.seed * 100_003 + number)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time."""
        file = os.open(self.folder / "locks" / "sweep", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _lock(self, number: int) -> bool:
        """Take a trial for this process; whether no other one has it."""
        file = os.open(self.folder / "locks" / f"{number}", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(file)
            return False
        self._held[number] = file
        return True

    def _unlock(self, number: int) -> None:
        os.close(self._held.pop(number))
