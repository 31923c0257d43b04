"""A search is checked before its first trial: at the ends and in the middle of each range."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trackside.config.text.place import dotted
from trackside.config.text.problem import ExperimentError, Problem
from trackside.errors import ConfigurationError, TracksideError
from trackside.machine.paths import is_address

if TYPE_CHECKING:
    from trackside.search.space import Dimension, Value
    from trackside.search.sweep import Sweep

WITHOUT_EFFECT = {
    "trainer.directory": "each trial has its folder in that of the sweep",
    "trainer.resume": "each trial goes on from its newest checkpoint",
    "evaluate": "a sweep trains, and evaluates nothing afterwards",
}
"""Options that a sweep decides by itself, and why."""


def check(sweep: Sweep) -> None:
    """Refuse a search of which a value can't be trained.

    Raises:
        ConfigurationError: An option has no effect in a sweep, or a value of a range is refused.
        ExperimentError: The configuration is wrong at the first value of each range.
    """
    for one in sweep.space:
        why = WITHOUT_EFFECT.get(one.key)
        if why is not None:
            raise ConfigurationError(
                f"{one.key} can't be varied: {why}", remedy="leave it out", option=one.key
            )
    first = {one.key: one.values[0] for one in sweep.space}
    last = {one.key: one.values[-1] for one in sweep.space}
    try:
        sweep.experiment(first)
    except ExperimentError as error:
        problems = [_with_whole_numbers(problem, sweep.space) for problem in error.problems]
        raise ExperimentError(problems) from error
    for one in sweep.space:
        for value in _further(one):
            _try(sweep, one, value, first, last)


def without_effect(written: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each option of a configuration that a sweep decides by itself.

    Raises:
        ConfigurationError: One of them asks for what a sweep doesn't do: a remote folder.
    """
    found = []
    for key, why in WITHOUT_EFFECT.items():
        section, _, option = key.partition(".")
        value = written.get(section)
        if option:
            value = value.get(option) if isinstance(value, Mapping) else None
        if value is None:
            continue
        if isinstance(value, str) and is_address(value):
            raise ConfigurationError(
                f"{key}={value!r} has no effect in a sweep: {why}",
                remedy="leave it out, and give the trials the callback `upload`: each has its own "
                "folder below that address",
                option=key,
            )
        found.append(f"{key} has no effect in a sweep: {why}")
    return tuple(found)


def _further(one: Dimension) -> Iterator[Value]:
    """Values beside the first: all of a choice; the last, and one in the middle."""
    if one.kind in ("range", "log"):
        low, high = (float(value or 0) for value in one.values)
        yield math.sqrt(low * high) if one.logarithmic else (low + high) / 2
    yield from one.values[1:]


def _try(
    sweep: Sweep,
    one: Dimension,
    value: Value,
    first: dict[str, Value],
    last: dict[str, Value],
) -> None:
    """Refuse a value that fits neither to the first nor to the last values of the others."""
    try:
        sweep.experiment({**first, one.key: value})
    except TracksideError as error:
        try:
            sweep.experiment({**last, one.key: value})
        except TracksideError:
            raise ConfigurationError(
                f"{one.key}: of {one}, {json.dumps(value)} is refused",
                received=str(error),
                remedy="give it values that can all be trained",
                option=one.key,
            ) from error


def _with_whole_numbers(problem: Problem, space: tuple[Dimension, ...]) -> Problem:
    """The problem; its remedy is `int(...)` where a range of any numbers doesn't fit."""
    for one in space:
        if dotted(problem.path) == one.key and one.kind in ("range", "log"):
            ends = [float(value or 0) for value in one.values]
            if all(map(float.is_integer, ends)):
                low, high = map(int, ends)
                form = f"int({low}, {high}{', log' if one.logarithmic else ''})"
                return replace(problem, remedy=f"for whole numbers write {form}")
    return problem
