"""The contract of callbacks, as a suite: `check_callback(factory)` proves it for one of them.

Every callback that comes with Trackside passes; authors run it over theirs in one test:

    def test_my_callback_keeps_the_contract():
        check_callback(MyCallback, options={"every": "2 steps"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trackside.errors import ConfigurationError, TracksideError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.testing import rules
from trackside.testing.laboratory import Broken, Laboratory
from trackside.testing.tasks import Task, tiny_classification

RULES: dict[str, Callable[[Laboratory], None]] = {
    "registration": rules.registration,
    "configuration": rules.configuration,
    "observation": rules.observation,
    "effect": rules.effect,
    "waits": rules.waits,
    "state": rules.state,
    "resume": rules.resume,
    "second_fit": rules.second_fit,
    "clean_up": rules.clean_up,
    "failing_disk": rules.failing_disk,
    "ranks": rules.ranks,
}
"""All rules by name, in the order in which they are tried; their docstrings say what holds."""


class ContractError(TracksideError):
    """A callback breaks the contract; the message lists each broken rule and how to fix it."""


@dataclass(frozen=True, slots=True)
class ContractReport:
    """The rules that a callback was proven to keep."""

    passed: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Rules that were left out, with the reason."""
    seconds_per_step: float = 0.0
    """Its cost in a step of the tiny task, its evaluations included."""

    def __str__(self) -> str:
        text = f"{len(self.passed)} rules hold ({', '.join(self.passed)})"
        for rule, reason in self.skipped.items():
            text += f"; not {rule}: {reason}"
        return f"{text}; {self.seconds_per_step * 1e6:.0f} µs per step"


def check_callback(
    factory: Callable[..., Callback[Any]],
    *,
    options: Mapping[str, Any] | None = None,
    task: Callable[[], Task] = tiny_classification,
    observer: bool = True,
    beside: Callable[[], Sequence[Callback[Any]]] = tuple,
    trainer: Mapping[str, Any] | None = None,
    measured: Sequence[str] = (),
    skip: Mapping[str, str] | None = None,
    thorough: bool = False,
) -> ContractReport:
    """Prove that a callback keeps the contract of callbacks.

    It is trained with on a tiny task: alone, broken and resumed, twice in a row, with an error at
    every hook, on a disk that is full, and on two simulated ranks.

    Args:
        factory: Makes the callback: its class, or a function; called again forevery run.
        options: What `factory` is called with. With a class they are also written to a YAML file
            and read back.
        task: Makes the task to train on; its training data needs two batches or more.
        observer: Whether it only watches: the trained weights are then the same without it.
        beside: Makes other callbacks that it needs, new for each run.
        trainer: Options of the trainer, such as `accumulate`.
        measured: Names of logged values that depend on the machine (`memory/*`): they need not be
            the same after a resume. Those that differ between two runs are noticed without it.
        skip: Rules to leave out, each with the reason; the report repeats them.
        thorough: Whether to break the run at every step and to raise an error at every hook. Else
            one step and a third of the hooks are chosen, by the factory's name.

    Returns:
        What was proven, and what the callback costs.

    Raises:
        ContractError: Lists every rule that is broken, what happened, and how to fix it.

    Example:
        >>> report = check_callback(EarlyStopping, options={"monitor": "val/loss"})
        >>> "resume" in report.passed
        True
    """
    skipped = dict(skip or {})
    for name in skipped:
        if name not in RULES:
            raise ConfigurationError(
                f"there is no rule {name!r} to skip",
                remedy=did_you_mean(name, RULES),
                option="skip",
            )
    laboratory = Laboratory(
        factory, dict(options or {}), task, observer, beside, trainer or {}, measured, thorough
    )
    passed: list[str] = []
    broken: list[str] = []
    for name, rule in RULES.items():
        if name in skipped:
            continue
        try:
            rule(laboratory)
        except rules.NotApplicable as reason:
            skipped[name] = str(reason)
        except Broken as found:
            broken.append(f"{name}: {found.what}\n    fix: {found.fix}")
        else:
            passed.append(name)
        if broken and name == "registration":
            break  # nothing can be trained with it
    if broken:
        raise ContractError(
            f"`{laboratory.title}` breaks the contract of callbacks:\n  " + "\n  ".join(broken)
        )
    return ContractReport(tuple(passed), skipped, laboratory.seconds_per_step)
