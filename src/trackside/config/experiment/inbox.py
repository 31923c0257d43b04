"""Commands to a running job: files in a folder of the run that its owner alone can write to.

Whoever can put a file there can end the run and change its options, so the folder is made with mode
0700, and one that others may write to is not read. What lies in it is judged one by one: a link, a
pipe, a giant or a folder among the commands is refused, and the others are taken.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from trackside.errors import UsageError, did_you_mean
from trackside.machine.paths import local_path
from trackside.run_folder.inside import read_inside, replace_inside
from trackside.run_folder.ownership import distrust
from trackside.secret import as_written

logger = logging.getLogger("trackside")

FOLDER = "asked"
ANSWERED = "answered"
LONGEST = 1000
"""Characters of a command."""
_LIMIT_BYTES = 64 * 2**10
_AT_ONCE = 100
"""Commands that are taken at one look: the rest waits for the next."""

WISHES = {
    "stop": "stop [REASON]",
    "save": "save [REASON]",
    "end_epoch": "end_epoch [REASON]",
    "evaluate": "evaluate DATA",
    "profile": "profile STEPS",
    "set": "set NAME.OPTION=VALUE",
}
"""Known commands, and how each is written."""
MOST_STEPS_PROFILED = 1000


@dataclass(frozen=True, slots=True)
class Command:
    """A command to a running job."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply to a command."""

    command: Command
    accepted: bool
    words: str
    step: int


def read_command(words: list[str]) -> Command:
    """A command from the words on the command line.

    Raises:
        UsageError: That is nothing that can be asked for.
    """
    return checked(Command(words[0] if words else "", " ".join(words[1:])))


def checked(command: Command) -> Command:
    """The same command. Raises `UsageError` unless it is one that can be asked for, and whole."""
    kind, value = command.kind, command.value
    if kind not in WISHES:
        raise UsageError(
            f"{kind[:50]!r} can't be asked for",
            expected=", ".join(WISHES.values()),
            remedy=did_you_mean(kind[:50], WISHES),
        )
    steps = int(value) if value.isdecimal() and len(value) < 10 else 0
    whole = {"evaluate": bool(value), "profile": 0 < steps <= MOST_STEPS_PROFILED}
    whole["set"] = "=" in value and "." in value.partition("=")[0]
    if not whole.get(kind, True) or len(value) > LONGEST:
        most = f", at most {MOST_STEPS_PROFILED}" if kind == "profile" else ""
        raise UsageError(
            f"`{kind} {value[:50]}` is not whole",
            expected=f"{WISHES[kind]}{most}, in at most {LONGEST} characters",
        )
    return command


# --- from outside --------------------------------------------------------------------------------


def ask(folder: str | Path, command: Command) -> Path:
    """Leave a command in a run's folder; the file that will hold the answer.

    Raises:
        UsageError: There is no run in the folder, or it is not one that this user may steer.
    """
    folder = local_path(folder, "run")
    if not folder.is_dir():
        raise UsageError(f"there is no run in {folder}", remedy="`trackside runs` lists them")
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    try:
        why = prepare(folder)
        if why is not None:
            raise UsageError(
                f"the run in {folder} would not read what is asked of it: {why}",
                expected=f"a folder {FOLDER}/ that its owner alone can write to",
                remedy=f"remove {folder / FOLDER}; it is made again",
            )
        replace_inside(folder, f"{FOLDER}/{name}", json.dumps(asdict(command)))
    except PermissionError as error:
        raise UsageError(
            f"the run in {folder} is another user's",
            expected="to be asked by its owner",
            received=str(error),
        ) from error
    return folder / FOLDER / ANSWERED / name


def read_answer(path: Path) -> Reply | None:
    """The answer to a command; None while there is none.

    Raises:
        UsageError: What lies there is no answer.
    """
    try:
        content = json.loads(read_inside(path.parent, path.name, limit_bytes=_LIMIT_BYTES))
        return Reply(**{**content, "command": Command(**content["command"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} holds no answer: {error}") from error


# --- from the run --------------------------------------------------------------------------------


def prepare(folder: Path) -> str | None:
    """Make the folder for commands, closed to others; why the one that is there can't be used.

    Raises:
        OSError: It can't be made.
    """
    asked = folder / FOLDER
    with contextlib.suppress(FileExistsError):
        os.mkdir(asked, 0o700)
    if not asked.is_dir():
        return f"{asked} isn't a folder"
    return distrust(asked, strict=True)


@final
class Inbox:
    """Commands in a run's folder, as the run takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: set[str] = set()
        self._left: set[str] = set()
        """Names of what could not be taken away: refused once, and not looked at again."""

    def waiting(self) -> Iterator[tuple[str, Command]]:
        """The commands that wait, oldest first, each with the name of its file; they are taken out.

        One that can't be read comes as a command of the kind `?` with the reason, which is refused.
        """
        for name in self._names():
            command = self._read(name)
            try:
                os.unlink(self._folder / FOLDER / name)
            except OSError:  # a folder, or one that others have taken
                self._left.add(name)
            yield name, command

    def answer(self, name: str, reply: Reply) -> None:
        """Leave the answer to the command in the file `name`."""
        try:
            text = as_written(json.dumps(asdict(reply)))
            replace_inside(self._folder, f"{FOLDER}/{ANSWERED}/{name}", text)
        except OSError as error:
            self._tell(f"an answer can't be written: {error}")

    def _names(self) -> list[str]:
        try:
            if not os.path.lexists(self._folder / FOLDER):
                return []
            why = prepare(self._folder)
            names = os.listdir(self._folder / FOLDER) if why is None else []
        except OSError as error:
            why, names = str(error), []
        if why is not None:
            self._tell(f"what is asked of the run is not read: {why}")
        found = {n for n in names if n.endswith(".json") and not n.startswith(".")}
        return sorted(found - self._left)[:_AT_ONCE]

    def _read(self, name: str) -> Command:
        try:
            data = read_inside(self._folder, f"{FOLDER}/{name}", limit_bytes=_LIMIT_BYTES)
            content: Any = json.loads(data)
            if not isinstance(content["kind"], str) or not isinstance(content["value"], str):
                raise TypeError("kind and value must be text")
            return Command(content["kind"][:LONGEST], content["value"][: LONGEST + 1])
        except OSError as error:
            return Command("?", f"not a plain, small file: {error.strerror}")
        except (ValueError, TypeError, KeyError, RecursionError):
            return Command("?", "not a file from `trackside ask`")

    def _tell(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            logger.warning("%s", words)
