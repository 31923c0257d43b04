"""Changes during a run: options declared settable, and numbers of an optimizer.

Each value is checked as when the run was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.optim import Optimizer

from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.fitting import check
from trackside.config.checking.options import options_of
from trackside.config.text.document import parse
from trackside.config.text.problem import Findings
from trackside.errors import UsageError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.secret import is_secret, keep_secret


def settable_options(kind: type[Callback[Any]]) -> tuple[str, ...]:
    """Names of the options that a class of callbacks, or a base of it, declares settable.

    A secret isn't: requests to a run, and the answers, are kept.
    """
    declared: Iterator[str] = (n for c in kind.__mro__ for n in vars(c).get("settable", ()))
    known = {name for name, option in options_of(kind).table.items() if not is_secret(option.hint)}
    return tuple(name for name in dict.fromkeys(declared) if name in known)


def written_value(text: str) -> Any:
    """The plain value that `text` stands for, as in a file.

    Raises:
        UsageError: It isn't a YAML value, or it has an interpolation.
    """
    findings = Findings()
    layer = parse(text, "asked", findings)
    if findings.problems or layer is None:
        why = findings.problems[0].message if findings.problems else "it can't be read"
        raise UsageError(f"{text!r} isn't a value: {why}")
    if isinstance(layer.value, (dict, list)):
        raise UsageError(f"{text!r} isn't one value", expected="a number, a word or a schedule")
    if isinstance(layer.value, float) and not math.isfinite(layer.value):
        raise UsageError(f"{text!r} is not finite")
    return layer.value


def with_option(
    callback: Callback[Any], name: str, made_of: Blueprint | None, option: str, value: Any
) -> tuple[Callback[Any], Blueprint]:
    """A callback like `callback` with another value of one option, and how it was made.

    Raises:
        UsageError: The option is none, is not settable, or the value does not fit.
        ConfigurationError: The constructor refuses the value.
    """
    kind = type(callback)
    options, allowed = options_of(kind).table, settable_options(kind)
    if option in options and is_secret(options[option].hint):
        keep_secret(value)
    if option not in allowed:
        known = option in options
        raise UsageError(
            f"{option!r} of {name!r} can't be changed while the run goes on"
            if known
            else f"{option!r} is not an option of {name!r}",
            expected=f"one of {', '.join(allowed)}" if allowed else "no option of it is settable",
            remedy=None if known else did_you_mean(option, allowed),
        )
    value, wrong = check(value, options[option].hint, lambda _: False)
    if wrong:
        raise UsageError(f"{option!r} does not fit", expected=wrong[0].expected)
    made_of = made_of or Blueprint(name, kind, ("callbacks", name))
    changed = replace(made_of, arguments={**made_of.arguments, option: value})
    new: Callback[Any] = changed.build()
    return new, changed


def change_optimizers(run: Run, owner: str, option: str, value: Any) -> None:
    """Set a number in all groups of an optimizer, or of all of them.

    Raises:
        UsageError: There is no such number, or the optimizer refuses the value.
    """
    chosen = run.optimizers if owner == "optimizer" else {owner: run.optimizers[owner]}
    for optimizer in chosen.values():
        _check_number(optimizer, option, value)
    for optimizer in chosen.values():
        for group in optimizer.param_groups:
            group[option] = value


def _check_number(optimizer: Optimizer, option: str, value: Any) -> None:
    for group in optimizer.param_groups:
        numbers = [name for name in group if _is_number(group[name])]
        if option not in numbers:
            raise UsageError(
                f"{option!r} is not a number of the optimizer",
                expected=f"one of {', '.join(numbers)}",
                remedy=did_you_mean(option, numbers),
            )
    if not _is_number(value):
        raise UsageError(f"{option!r} can't be {value!r}", expected="a finite number")
    _ask_the_constructor(optimizer, {option: value})


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def _ask_the_constructor(optimizer: Optimizer, arguments: Mapping[str, Any]) -> None:
    kind = type(optimizer)
    if not arguments.keys() <= options_of(kind).table.keys():
        return  # an entry of the groups that a scheduler has added
    try:
        kind([torch.zeros(1, requires_grad=True)], **arguments)
    except ValueError as error:
        raise UsageError(f"{kind.__name__} refuses it: {error}") from error
    except TypeError:
        return  # it needs more than that: its own step judges
