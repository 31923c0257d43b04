"""Steering a running job from outside: wishes are files in the run's folder, no port is opened.

`trackside ask RUN ...` leaves a file under `asked/`; the run takes it at its next safe point, does
what it says on every rank, and moves it to `asked/answered/` with what came of it.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.fitting import check
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.options import options_of
from trackside.config.text.document import parse
from trackside.config.text.problem import Findings
from trackside.errors import TracksideError, UsageError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.paths import local_path
from trackside.run import Run

logger = logging.getLogger("trackside")

FOLDER = "asked"
ANSWERED = "answered"
LOOK_EVERY_SECONDS = 1.0

WISHES = {
    "stop": "stop [REASON]",
    "save": "save [REASON]",
    "evaluate": "evaluate DATA",
    "profile": "profile STEPS",
    "set": "set NAME.OPTION=VALUE",
}
"""What can be asked for, and how it is written."""


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that somebody wants of a running job."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a wish."""

    wish: Command
    accepted: bool
    words: str
    step: int


def read_wish(words: list[str]) -> Command:
    """A wish from the words on the command line.

    Raises:
        UsageError: That is nothing that can be asked for.
    """
    kind, value = (words[0] if words else ""), " ".join(words[1:])
    forms = ", ".join(WISHES.values())
    if kind not in WISHES:
        raise UsageError(
            f"{kind!r} can't be asked for", expected=forms, remedy=did_you_mean(kind, WISHES)
        )
    whole = {"evaluate": bool(value), "profile": value.isdecimal() and int(value) > 0}
    whole["set"] = "=" in value and "." in value.partition("=")[0]
    if not whole.get(kind, True):
        raise UsageError(f"`{kind} {value}` is not whole", expected=WISHES[kind])
    return Command(kind, value)


def ask(folder: str | Path, wish: Command) -> Path:
    """Leave a wish in a run's folder; the file that will hold the answer.

    Raises:
        UsageError: There is no run in the folder.
    """
    folder = local_path(folder, "run")
    if not folder.is_dir():
        raise UsageError(f"there is no run in {folder}", remedy="`trackside runs` lists them")
    asked = folder / FOLDER
    asked.mkdir(exist_ok=True)
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    unfinished = asked / f".{name}"
    unfinished.write_text(json.dumps(asdict(wish)), encoding="utf-8")
    unfinished.rename(asked / name)  # the run never sees half a file
    return asked / ANSWERED / name


def read_answer(path: Path) -> Reply | None:
    """The answer to a wish; None while there is none."""
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    return Reply(**{**told, "wish": Command(**told["wish"])})


@final
class Steering(Callback[Run]):
    """Does what `trackside ask` asks for.

    Stop, save and evaluate are requests like any callback's: agreed by all ranks, with the reason
    in the outcome. Profiles and changed options take effect at once in one process, and at the end
    of the epoch in several, where all ranks meet.

    Args:
        callbacks: How the run's callbacks were made, by name: to change an option, a callback is
            made anew and goes on from the state of the old one.
        clock: Seconds, for tests.
    """

    on_error = "warn"

    def __init__(
        self,
        callbacks: Mapping[str, Blueprint | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blueprints = dict(callbacks or {})
        self._clock = clock
        self._next_look = 0.0
        self._later: list[tuple[str, Command]] = []

    def on_fit_start(self, run: Run) -> None:
        """Refuse what was asked of an earlier run in this folder: it may not fit this one."""
        self._refuse_the_rest(run, "it was asked before this run began")

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Refuse what came too late."""
        if run.mode == "fit":
            self._refuse_the_rest(run, "the run has ended")

    def on_step_end(self, run: Run) -> None:
        """Look for wishes now and then; on rank 0, which tells the others."""
        now = self._clock()
        if now < self._next_look or run.world.rank != 0:
            return
        self._next_look = now + LOOK_EVERY_SECONDS
        self._look(run)
        if run.world.size == 1:
            self._do_later(run)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        """Do, on every rank, what all of them have to do at once."""
        if run.world.rank == 0:
            self._look(run)
        if run.world.size > 1:
            told = [(name, asdict(wish)) for name, wish in self._later]
            self._later = [(name, Command(**wish)) for name, wish in run.world.broadcast(told)]
        self._do_later(run)

    def _look(self, run: Run) -> None:
        for name, wish in _waiting(run):
            if wish.kind in ("set", "profile"):
                self._later.append((name, wish))
            else:
                self._answer(run, name, wish, self._request(run, wish))

    def _refuse_the_rest(self, run: Run, why: str) -> None:
        if run.world.rank == 0:
            for name, wish in _waiting(run):
                self._answer(run, name, wish, why)

    def _request(self, run: Run, wish: Command) -> str | None:
        """Turn a wish into a request; why it can't be, if it can't."""
        reason = wish.value or "asked from outside"
        if wish.kind == "stop":
            run.stop(reason)
        elif wish.kind == "save":
            if run.saver is None:
                return "nothing saves checkpoints in this run"
            run.save(reason)
        elif wish.kind == "evaluate":
            if wish.value not in run.data:
                return f"there is no data named {wish.value!r}; there is {', '.join(run.data)}"
            run.evaluate(wish.value, "asked from outside")
        else:
            return f"{wish.kind!r} can't be asked for"
        return None

    def _do_later(self, run: Run) -> None:
        wishes, self._later = self._later, []
        for name, wish in wishes:
            try:
                if wish.kind == "profile":
                    _profile(run, int(wish.value))
                else:
                    self._set(run, wish.value)
                refused = None
            except (TracksideError, KeyError, TypeError, ValueError) as error:
                refused = str(error)
            if run.world.rank == 0:
                self._answer(run, name, wish, refused)

    def _set(self, run: Run, text: str) -> None:
        path, _, written = text.partition("=")
        owner, _, option = path.rpartition(".")
        layer = parse(written, "asked", Findings())
        value = None if layer is None else layer.value
        if owner in run.callbacks:
            self._change(run, owner, option, value)
        elif owner == "optimizer" or owner in run.optimizers:
            _change_optimizers(run, owner, option, value)
        else:
            raise UsageError(
                f"there is no callback or optimizer named {owner!r}",
                remedy=did_you_mean(owner, [n for n, _ in run.callbacks.items()]),
            )
        if isinstance(value, (int, float)):
            run.log(f"set/{path}", float(value), weight=1.0)

    def _change(self, run: Run, name: str, option: str, value: Any) -> None:
        """Put a callback with another option, and the same state, in the place of the old one."""
        old: Callback[Any] = run.callbacks[name]
        saver: object = run.saver
        if old is self or saver is old:
            raise UsageError(f"{name!r} can't be changed while the run goes on")
        options = options_of(type(old)).table
        if option not in options:
            raise UsageError(
                f"{option!r} is not an option of {name!r}", remedy=did_you_mean(option, options)
            )
        value, wrong = check(value, options[option].hint, lambda _: False)
        if wrong:
            raise UsageError(f"{option!r} does not fit", expected=wrong[0].expected)
        made_of = self._blueprints.get(name) or Blueprint(name, type(old), ("callbacks", name))
        changed = replace(made_of, arguments={**made_of.arguments, option: value})
        new: Callback[Any] = changed.build()
        state = old.state_dict()
        run.callbacks[name] = new
        self._blueprints[name] = changed
        if state:
            new.load_state_dict(state)
        new.on_fit_start(run)  # as when a run is resumed

    def _answer(self, run: Run, name: str, wish: Command, refused: str | None) -> None:
        words = refused or "done" if wish.kind in ("set", "profile") else refused or "requested"
        answer = Reply(wish, refused is None, words, run.progress.steps_completed)
        logger.info("asked for %s %s: %s", wish.kind, wish.value, words)
        folder = run.directory / FOLDER / ANSWERED
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{name}"
        unfinished.write_text(json.dumps(asdict(answer)), encoding="utf-8")
        unfinished.rename(folder / name)


def _waiting(run: Run) -> list[tuple[str, Command]]:
    """Wishes in the run's folder, in the order in which they came; they are taken out of it."""
    folder = run.directory / FOLDER
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            wish = Command(str(told["kind"]), str(told["value"]))
        except (ValueError, TypeError, KeyError):
            wish = Command("?", "a file that isn't from `trackside ask`")
        found.append((path.name, wish))
        path.unlink()
    return found


def _profile(run: Run, steps: int) -> None:
    profiler: Callback[Any] = CALLBACKS.resolve("profiler")(skip=0, warmup=1, active=steps)
    name = f"profile_at_{run.progress.steps_completed}"
    run.callbacks.append(profiler, name)
    profiler.on_fit_start(run)


def _change_optimizers(run: Run, owner: str, option: str, value: Any) -> None:
    chosen = run.optimizers if owner == "optimizer" else {owner: run.optimizers[owner]}
    groups = [group for optimizer in chosen.values() for group in optimizer.param_groups]
    for group in groups:
        if option not in group or option == "params":
            known = [key for key in group if key != "params"]
            raise UsageError(
                f"{option!r} is not an option of the optimizer", remedy=did_you_mean(option, known)
            )
        if not isinstance(value, type(group[option])) and not (
            isinstance(value, (int, float)) and isinstance(group[option], (int, float))
        ):
            raise UsageError(f"{option!r} can't be {value!r}")
    for group in groups:
        group[option] = value
