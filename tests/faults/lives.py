"""The lives of one training: each is a process that is killed, told to end, or comes to its end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from tests.faults.programs import control_run, kept_run, long_run
from tests.forks import FORKS, start_server

SAVE_INTERVAL = 3
Options = long_run.Options | control_run.ControlOptions
AnyOptions = Options | kept_run.KeptOptions
PROGRAMS: dict[type[Any], Any] = {
    long_run.Options: long_run,
    control_run.ControlOptions: control_run,
    kept_run.KeptOptions: kept_run,
}


class Life:
    """One process: what it told until it was killed, or ended.

    Args:
        options: What to train.
        kill_after: Kill it and its workers once it has told so many lines.
        send: Signals to send, one after the other, ...
        at: ... when it tells this word and number for the first time; it waits until they are sent.
        to_group: Send them to its whole process group: its loader's workers get them, too.
    """

    def __init__(
        self,
        options: AnyOptions,
        *,
        kill_after: int | None = None,
        send: Sequence[int] = (),
        at: tuple[str, int] = ("", 0),
        to_group: bool = False,
    ) -> None:
        start_server()
        self.lines: list[list[Any]] = []
        """What it told."""
        self.signalled = False
        line, other_end = FORKS.Pipe()
        process = FORKS.Process(target=live, args=(options, other_end, at))
        process.start()
        assert process.pid is not None
        other_end.close()
        try:
            while True:
                self.lines.append(line.recv())
                if len(self.lines) == kill_after:
                    # A worker that has just been forked never sees that its parent died, and would
                    # keep the pipe open: what starts jobs kills their group.
                    with contextlib.suppress(ProcessLookupError):  # it came to its end just now
                        os.killpg(process.pid, signal.SIGKILL)
                if tuple(self.lines[-1][:2]) == at and not self.signalled:
                    self.signalled = True
                    for number in send:
                        (os.killpg if to_group else os.kill)(process.pid, number)
                    line.send("go on")
        except (EOFError, ConnectionResetError):
            process.join()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            line.close()
        assert process.exitcode is not None
        self.exit_code = process.exitcode

    @property
    def final(self) -> Any:
        """Weights, records and states of callbacks at the end; None where it was killed."""
        return next((line[1] for line in self.lines if line[0] == "end"), None)

    @property
    def batches(self) -> dict[int, str]:
        """By number of the batch: digests of its samples and of its loss."""
        return {line[1]: line[2] for line in self.lines if line[0] == "batch"}

    @property
    def steps(self) -> list[int]:
        return [line[1] for line in self.lines if line[0] == "step"]

    @property
    def closed(self) -> list[list[Any]]:
        return [line[1:] for line in self.lines if line[0] == "closed"]


def live(options: AnyOptions, line: Any, waits_at: tuple[str, int]) -> None:
    """What the process does."""
    os.setsid()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    waited = False

    def tell(words: list[Any]) -> None:
        nonlocal waited
        line.send(words)
        if tuple(words[:2]) == waits_at and not waited:
            waited = True
            line.recv()  # until the signals are sent: no clock decides what comes first

    program = PROGRAMS[type(options)]
    try:
        sys.exit(program.train(options, tell))
    except Exception:
        line.send(["error", traceback.format_exc()])
        raise


def check(found: Sequence[Life], unbroken: Life, *, may_lose: int) -> None:
    """What holds when a run was killed and started again until it came to its end.

    Args:
        found: Its lives, the last one complete.
        unbroken: The same training, never killed.
        may_lose: Most steps that a kill may cost.
    """
    errors = [line[1] for life in found for line in life.lines if line[0] == "error"]
    assert not errors, errors[0]
    assert found[-1].final == unbroken.final, "weights, records or states differ"
    done = 0
    for life in found:
        for number, seen in life.batches.items():
            assert unbroken.batches[number] == seen, f"batch {number} is another one"
        first = min(life.steps, default=done + 1)
        assert first <= done + 1, f"steps {done + 1} to {first - 1} were skipped"
        assert done + 1 - first <= may_lose, f"{done + 1 - first} steps were lost"
        done = max([done, *life.steps])


def kill_and_resume(options: AnyOptions, unbroken: Life, dice: random.Random) -> list[Life]:
    """Kill the training once or twice at random moments, then let it come to its end."""
    moments = [dice.randint(1, len(unbroken.lines) - 2) for _ in range(dice.choice([1, 1, 2]))]
    return [*(Life(options, kill_after=moment) for moment in moments), Life(options)]
