"""The contract suite passes what keeps it, and each of its rules catches who breaks it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable as Fn
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import on
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.testing import RULES, ContractError, Recorder, check_callback

# --- callbacks that keep it --------------------------------------------------------------------


class Counts(Callback[Run]):
    """Counts steps over all resumes, logs the count, and writes it to a file."""

    effect = "observes"

    def __init__(self, file: str = "count.txt", every: int = 1) -> None:
        self.file = file
        self.every = every
        self.steps = 0

    def on_fit_start(self, run: Run) -> None:
        self.steps = run.progress.steps_completed

    def on_step_end(self, run: Run) -> None:
        self.steps += 1
        run.log("counts/steps", float(self.steps))

    def on_fit_end(self, run: Run) -> None:
        run.directory.mkdir(parents=True, exist_ok=True)
        (run.directory / self.file).write_text(str(self.steps))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class DrawsInAHook(Counts):
    """Draws in its only hook, after the last step: the weights are the same."""

    def on_fit_end(self, run: Run) -> None:
        torch.rand(1)


class AsksInEachStep(Counts):
    """Reads a value in each step."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        output.loss.item()


class Quiet(Counts):
    """Its file is not worth a run."""

    on_error = "warn"


class Shrinks(Callback[Run]):
    """Changes training on purpose."""

    effect = "changes"

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        for parameter in run.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


@pytest.mark.parametrize("factory", [Counts, Quiet, Recorder])
def test_a_callback_that_keeps_it_passes_every_rule(factory: Fn[..., Callback[Any]]) -> None:
    report = check_callback(factory)

    assert set(report.passed) == set(RULES)
    assert report.skipped == {}
    assert report.seconds_per_step > 0
    assert str(report).startswith(f"{len(RULES)} rules hold (registration, configuration, ")


def test_one_that_changes_training_says_so() -> None:
    report = check_callback(Shrinks, observer=False)

    assert report.skipped == {
        "observation": "it changes training on purpose",
        "effect": "it changes, and says so",
    }
    with pytest.raises(ContractError, match="observation: the trained weights differ"):
        check_callback(Shrinks)


def test_a_function_can_be_the_factory() -> None:
    report = check_callback(lambda: on(Callback.on_step_end, name="f")(lambda run: None))

    assert report.skipped == {
        "configuration": "made by a function, not by its class",
        "effect": "it doesn't declare its `effect`",
    }


def test_a_class_that_no_file_can_name_is_not_read_from_one() -> None:
    class Local(Counts):
        pass

    others = {name: "not of this test" for name in RULES if name != "configuration"}
    report = check_callback(Local, skip=others)

    assert report.skipped["configuration"].startswith("no file can name it: ")


def test_options_are_given_and_written_to_a_file() -> None:
    report = check_callback(Counts, options={"file": "other.txt", "every": 3})

    assert "configuration" in report.passed


def test_others_that_it_needs_are_made_beside_it() -> None:
    class Needs(Callback[Run]):
        requires = (Counts,)

    with pytest.raises(ContractError, match=r"registration: it can't join: .*needs a callback"):
        check_callback(Needs)
    assert "registration" in check_callback(Needs, beside=lambda: [Counts()]).passed


def test_a_rule_can_be_left_out_with_a_reason() -> None:
    report = check_callback(FailsOnRankOne, skip={"ranks": "for one rank only"})

    assert report.skipped["ranks"] == "for one rank only"
    with pytest.raises(ConfigurationError, match="no rule 'observatoin' to skip"):
        check_callback(Shrinks, skip={"observatoin": "x"})


# --- callbacks that break it -------------------------------------------------------------------


class Misspelt(Callback[Run]):
    def on_stepend(self, run: Run) -> None: ...


class Fails(Callback[Run]):
    def on_step_end(self, run: Run) -> None:
        raise ZeroDivisionError("oops")


class ClosesItself(Callback[Run]):
    def on_fit_end(self, run: Run) -> None:
        self.on_close(run, Outcome.__new__(Outcome))


SHARED = Callback[Run]()


class Untyped(Callback[Run]):
    """From a file its path comes as text, from Python as it was given."""

    def __init__(self, folder: Path | str = "x") -> None:
        self.folder = folder


class ReadsItsCaller(Callback[Run]):
    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.made.append(0)
        self.number = len(self.made)


class Draws(Callback[Run]):
    def on_step_end(self, run: Run) -> None:
        torch.rand(1)


class Evaluates(Callback[Run]):
    def on_epoch_start(self, run: Run) -> None:
        run.model.eval()


class Unsavable(Callback[Run]):
    def state_dict(self) -> dict[str, Any]:
        return {"lock": threading.Lock()}


class Unsteady(Callback[Run]):
    asked = 0

    def state_dict(self) -> dict[str, Any]:
        self.asked += 1
        return {"asked": self.asked}


class Forgets(Callback[Run]):
    """Returns a state and does not take it back."""

    best = 0.0

    def on_step_end(self, run: Run) -> None:
        self.best += 1.0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}


class HasNoState(Callback[Run]):
    """Decides by what it does not save."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, run: Run) -> None:
        self.steps += 1
        run.log("own/steps", float(self.steps))


class HasNoStateThatMatters(HasNoState):
    def on_step_end(self, run: Run) -> None:
        self.steps += 1

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        if self.steps >= 3:
            for parameter in run.model.parameters():
                parameter.grad = None


class BeginsAnewWhenResumed(Counts):
    """Restores its state, and forgets it when the run starts."""

    def on_fit_start(self, run: Run) -> None:
        self.steps = 0

    def on_step_end(self, run: Run) -> None:
        self.steps += 1


class WorksOnce(Callback[Run]):
    opened = False

    def on_fit_start(self, run: Run) -> None:
        if self.opened:
            raise RuntimeError("already open")
        self.opened = True


class ClosesWhatIsNotOpen(Callback[Run]):
    file: Any = None

    def on_fit_start(self, run: Run) -> None:
        run.directory.mkdir(parents=True, exist_ok=True)
        self.file = (run.directory / "log.txt").open("w")

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.file.close()
        self.file = None


class LeavesAFileOpen(Callback[Run]):
    kept: ClassVar[list[Any]] = []

    def on_attach(self, run: Run) -> None:
        run.directory.mkdir(parents=True, exist_ok=True)
        self.kept.append((run.directory / "log.txt").open("w"))

    def on_fit_end(self, run: Run) -> None:
        self.kept.pop().close()


class LeavesAThread(Callback[Run]):
    def on_attach(self, run: Run) -> None:
        self.told = threading.Event()
        self.thread = threading.Thread(target=self.told.wait, daemon=True, name="lonely")
        self.thread.start()

    def on_fit_end(self, run: Run) -> None:
        self.told.set()
        self.thread.join()


class LeavesAProcess(Callback[Run]):
    kept: ClassVar[list[subprocess.Popen[bytes]]] = []

    def on_attach(self, run: Run) -> None:
        self.kept.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))

    def on_fit_end(self, run: Run) -> None:
        self.kept.pop().communicate()


class Swallows(Callback[Run]):
    """Ends the run by an error of its own where another one came up."""

    def on_exception(self, run: Run, error: BaseException) -> None:
        raise RuntimeError("mine is more important")


class HidesTheReason(Callback[Run]):
    def on_fit_start(self, run: Run) -> None:
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
            (run.directory / "x").touch()
        except OSError:
            raise RuntimeError("something went wrong") from None


class DefiesItsPolicy(Callback[Run]):
    """Says that it forgives, and stops the run another way."""

    on_error = "warn"

    def on_fit_start(self, run: Run) -> None:
        try:
            run.directory.mkdir(parents=True, exist_ok=True)
            (run.directory / "x").touch()
        except OSError as error:
            raise SystemExit("no disk") from error


class TellsNobody(Callback[Run]):
    """Loses its file without a word."""

    def on_fit_start(self, run: Run) -> None:
        with contextlib.suppress(OSError):
            run.directory.mkdir(parents=True, exist_ok=True)
            (run.directory / "x").touch()


class ForgivesItself(TellsNobody):
    """Forgives in the place of the run, which then can't count."""

    on_error = "warn"


class LosesTheNetwork(Callback[Run]):
    """Asks somebody who never answers, and says nothing of it."""

    def on_fit_start(self, run: Run) -> None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()


class OnlyRankZero(Callback[Run]):
    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if run.world.is_global_zero:
            run.world.barrier()


class RankZeroOnly(Callback[Run]):
    rank_zero_only = True

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.world.all_reduce(torch.zeros(3))


class OtherShapes(Callback[Run]):
    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.world.all_reduce(torch.zeros(1 + run.world.rank))


class FailsOnRankOne(Callback[Run]):
    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if run.world.rank == 1:
            raise ValueError("nobody has tried this")


BAD: list[tuple[Any, str, str, dict[str, Any]]] = [
    (Misspelt, "registration", "it can't join: .*on_stepend", {}),
    (Fails, "registration", "a run of the tiny task fails with it: ZeroDivisionError: oops", {}),
    (ClosesItself, "registration", "it was closed 2 times", {}),
    (lambda: SHARED, "registration", "returns the same callback twice", {}),
    (
        Untyped,
        "configuration",
        "it can't be made from YAML",
        {"options": {"folder": Path("x")}},
    ),
    (ReadsItsCaller, "configuration", "made from YAML it differs in number", {}),
    (Draws, "observation", "the trained weights differ from those of a run without it", {}),
    (Evaluates, "observation", "the trained weights differ", {}),
    (DrawsInAHook, "effect", "hook `on_fit_end` changed the random generator of torch", {}),
    (DrawsInAHook, "effect", "is said to change training", {"observer": False}),
    (AsksInEachStep, "waits", r"in each step: `on_batch_end` at test_contract.py", {}),
    (Unsavable, "state", "state that can't be saved: lock", {}),
    (Unsteady, "state", "asked twice, `state_dict` differs in asked", {}),
    (Forgets, "state", "after `load_state_dict` the state differs in best", {}),
    (HasNoState, "resume", "records differ: own/steps at step", {}),
    (HasNoStateThatMatters, "resume", "the trained weights differ", {"observer": False}),
    (BeginsAnewWhenResumed, "resume", "its state differs in steps", {}),
    (WorksOnce, "second_fit", "a second `fit` with the same trainer fails: .*already open", {}),
    (ClosesWhatIsNotOpen, "clean_up", "after an error at `on_attach` it fails itself", {}),
    (LeavesAFileOpen, "clean_up", r"it leaves the file .*log\.txt", {}),
    (LeavesAThread, "clean_up", "the thread 'lonely'", {}),
    (LeavesAProcess, "clean_up", r"the process \d+", {}),
    (Swallows, "clean_up", "it fails itself: RuntimeError: mine is more important", {}),
    (HidesTheReason, "failing_disk", "the error hides its reason", {}),
    (TellsNobody, "failing_disk", "nothing reported it, in spite of on_error='raise'", {}),
    (ForgivesItself, "failing_disk", "nothing reported it, in spite of on_error='warn'", {}),
    (LosesTheNetwork, "failing_disk", r"connect to \('127.0.0.1', 9\) failed and nothing", {}),
    (DefiesItsPolicy, "failing_disk", "in spite of on_error='warn': SystemExit", {}),
    (OnlyRankZero, "ranks", r"collective \d+ is barrier\(\) on rank 0 and", {}),
    (RankZeroOnly, "ranks", r"is all_reduce\(mean, float32\[3\]\) on rank 0 and", {}),
    (OtherShapes, "ranks", r"collective \d+ is all_reduce\(mean, float32\[1\]\) on rank 0", {}),
    (FailsOnRankOne, "ranks", "on rank 1 of two it fails: ValueError: nobody has tried", {}),
]


@pytest.mark.parametrize(
    ("factory", "rule", "said", "more"), BAD, ids=[getattr(b[0], "__name__", "?") for b in BAD]
)
def test_who_breaks_a_rule_is_caught_and_told_how_to_fix_it(
    factory: Any, rule: str, said: str, more: dict[str, Any]
) -> None:
    # The other rules would find the same fault a second time.
    others = {name: "not of this test" for name in RULES if name not in ("registration", rule)}
    try:
        with pytest.raises(ContractError, match=said) as caught:
            check_callback(factory, skip=others, **more)
    finally:
        while LeavesAFileOpen.kept:
            LeavesAFileOpen.kept.pop().close()
        while LeavesAProcess.kept:
            LeavesAProcess.kept.pop().communicate()
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("breaks the contract of callbacks:")
    assert lines[1].startswith(f"  {rule}: ")
    assert lines[2].startswith("    fix: ")


def test_every_rule_has_somebody_who_breaks_it() -> None:
    assert {rule for _, rule, _, _ in BAD} == set(RULES)


def test_all_broken_rules_are_listed() -> None:
    class Twice(Draws):
        def state_dict(self) -> dict[str, Any]:
            return {"lock": threading.Lock()}

    with pytest.raises(ContractError) as caught:
        check_callback(Twice)
    said = str(caught.value)
    assert "\n  observation: " in said
    assert "\n  state: " in said


def test_every_rule_says_what_holds() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())
