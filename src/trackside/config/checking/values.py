"""From plain values to blueprints: every `kind:` looked up, every option checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.fitting import check, inner_hint
from trackside.config.checking.hints import classes_in, is_schedule
from trackside.config.checking.kinds import (
    CALLBACKS,
    DATA,
    METRICS,
    MODELS,
    OPTIMIZERS,
    SCHEDULERS,
    Family,
    KindError,
)
from trackside.config.checking.options import Option, Options, options_of
from trackside.config.checking.path_values import local_value
from trackside.config.checking.wording import a, describe, show
from trackside.config.text.layers import Document
from trackside.config.text.place import Path, dotted
from trackside.config.text.problem import Findings
from trackside.errors import ConfigurationError, ScheduleError, did_you_mean, nearest
from trackside.schedule import Every
from trackside.secret import is_secret
from trackside.vocabulary.renamed import new_key

RESERVED = ("kind", "partial")
_PERIOD = re.compile(r"every_n_(\w+)")
_FAMILY_OF_BASE = {
    "Module": MODELS,
    "Optimizer": OPTIMIZERS,
    "LRScheduler": SCHEDULERS,
    "Metric": METRICS,
    "Dataset": DATA,
    "DataLoader": DATA,
    "Callback": CALLBACKS,
}


class _Unknown:
    """Stands for a value that could not be found out; it fits everything."""

    kind = "?"
    partial = False
    makes = None


UNKNOWN = _Unknown()


class Checker:
    """Checks values of one document; what is wrong is collected in `findings`."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self.document = document
        self.findings = findings

    # --- one kind ------------------------------------------------------------------------------

    def blueprint(
        self,
        value: Any,
        path: Path,
        family: Family,
        *,
        supplied: Collection[str] = (),
        attributes: dict[str, Option] | None = None,
        default_kind: str | None = None,
        partial: bool = False,
        base: type | None = None,
    ) -> Blueprint | None:
        """The blueprint of a mapping with `kind:`; None when something about it is wrong.

        Args:
            value: The mapping, or the kind alone as text.
            path: Where it stands.
            family: Short names that mean something here.
            supplied: Parameters that are filled in later and must not be in the file.
            attributes: Keys that are set on the object once it is made.
            default_kind: The kind when the mapping names none.
            partial: Whether a function that makes it is wanted.
            base: The class that it has to make, when it makes a class's instances.
        """
        if isinstance(value, str):
            value = {"kind": value}
        kind = self._kind(value, path, family, default_kind)
        if kind is None:
            return None
        try:
            target = family.resolve(kind)
        except KindError as error:
            at: Path = (*path, "kind") if "kind" in value else path
            self._add(
                error.message,
                at,
                key="kind" not in value,
                expected=error.expected,
                remedy=error.remedy,
            )
            return None
        if base is not None and isinstance(target, type) and not issubclass(target, base):
            self._add(
                f"`{kind}` can't be used as {family.noun}",
                (*path, "kind") if "kind" in value else path,
                expected=f"a subclass of {base.__module__.partition('.')[0]}'s {base.__name__}",
            )
            return None
        partial = partial or value.get("partial") is True
        before = len(self.findings.problems)
        checked, extra = self._options(
            {k: v for k, v in value.items() if k not in RESERVED},
            options_of(target),
            path,
            kind,
            family,
            supplied,
            attributes or {},
            partial and not supplied,
        )
        if len(self.findings.problems) > before or _holds_unknown(checked):
            return None
        table = options_of(target)
        return Blueprint(
            kind,
            target,
            path,
            self.document.place((*path, "kind") if "kind" in value else path),
            checked,
            by_position=_by_position(table, checked),
            rest=table.rest,
            partial=partial,
            attributes=extra,
            key_places={
                k: place
                for k in checked
                if (place := self.document.place((*path, k))) is not None
                and place != self.document.place(path)
            },
        )

    def _kind(self, value: Any, path: Path, family: Family, default: str | None) -> str | None:
        if path in self.findings.unknown or (*path, "kind") in self.findings.unknown:
            return None
        if not isinstance(value, dict):
            self._add(
                f"`{path[-1]}` is a mapping with `kind:`",
                path,
                expected=f"`kind:` and the options of {a(family.noun)}, or its short name",
                received=show(value),
            )
            return None
        kind = value.get("kind", default)
        if kind is None:
            near = nearest("kind", [str(key) for key in value])
            self._add(
                f"`{dotted(path)}` has no `kind:`",
                (*path, near) if near else path,
                key=True,
                expected=f"`kind:`, the short or full name of {a(family.noun)}",
                remedy=f"write `kind` for `{near}`" if near else None,
            )
            return None
        if not isinstance(kind, str):
            self._add("a `kind` is text", (*path, "kind"), received=show(kind))
            return None
        return kind

    # --- its options ---------------------------------------------------------------------------

    def options(
        self, value: dict[Any, Any], options: Options, path: Path, owner: str, family: Family
    ) -> dict[str, Any]:
        """Check keys that are no `kind:`'s but a function's own, such as those of `trainer:`."""
        return self._options(value, options, path, owner, family, (), {}, False)[0]

    def _options(
        self,
        value: dict[Any, Any],
        options: Options,
        path: Path,
        owner: str,
        family: Family,
        supplied: Collection[str],
        attributes: dict[str, Option],
        lenient: bool,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        checked: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        value = self._with_schedule(value, options, path, checked)
        for key, given in value.items():
            if not isinstance(key, str):
                self._add("the name of an option is text", (*path, key), key=True)
            elif key in supplied:
                self._add(f"`{key}` of {owner} is filled in by the trainer", (*path, key), key=True)
            elif key in options.table:
                if is_secret(options.table[key].hint):
                    self.document.hide((*path, key))
                checked[key] = self.fit(given, options.table[key].hint, (*path, key), family)
            elif key in attributes:
                extra[key] = self.fit(given, attributes[key].hint, (*path, key), family)
            elif options.open:
                checked[key] = self.fit(given, Any, (*path, key), family)
            else:
                self._unknown_key(key, [*options.table, *attributes], supplied, path, owner)
        if not lenient:
            for name, option in options.table.items():
                if option.required and name not in value and name not in (*supplied, *checked):
                    self._missing(option, path, owner)
        return checked, extra

    def _unknown_key(
        self, key: str, known: list[str], supplied: Collection[str], path: Path, owner: str
    ) -> None:
        known = [name for name in known if name not in supplied]
        word = f"`{key}` is not an option of {owner}"
        new = new_key(key, known)
        remedy = did_you_mean(key, known) if new is None else f"it is called `{new}` now"
        self._add(word, (*path, key), key=True, remedy=remedy or f"{owner} takes no options")

    def _missing(self, option: Option, path: Path, owner: str) -> None:
        expected = describe(option.hint)
        doc = option.doc.partition(". ")[0].rstrip(".")
        self._add(
            f"{owner} needs `{option.name}`",
            path,
            key=True,
            expected=f"{option.name}: {expected}" + (f" ({doc})" if doc else ""),
        )

    def _with_schedule(
        self, value: dict[Any, Any], options: Options, path: Path, checked: dict[str, Any]
    ) -> dict[Any, Any]:
        """Take `every_n_epochs: 2` for `every: 2 epochs` where there is an option `every`."""
        if "every" not in options.table or not is_schedule(options.table["every"].hint):
            return value
        periods = [k for k in value if isinstance(k, str) and _PERIOD.fullmatch(k)]
        periods = [k for k in periods if k not in options.table]
        given = [*periods, *(["every"] if "every" in value else [])]
        if len(given) > 1:
            self._add(
                "two schedules: " + " and ".join(f"`{key}`" for key in given),
                (*path, given[-1]),
                key=True,
                expected="exactly one",
                remedy="for both, join them: `every: 100 steps or 1 epoch`",
            )
        for key in periods:
            amount, word = value[key], key.removeprefix("every_n_")
            try:
                if isinstance(amount, bool) or not isinstance(amount, int):
                    raise ScheduleError(f"`{key}` is {show(amount)}", expected="a whole number")
                checked["every"] = Every.parse(f"{amount} {word}")
            except ScheduleError as error:
                self._add(error.message, (*path, key), expected=error.expected, remedy=error.remedy)
                checked["every"] = UNKNOWN
        return {key: given for key, given in value.items() if key not in periods}

    # --- one value -----------------------------------------------------------------------------

    def fit(self, value: Any, hint: Any, path: Path, family: Family) -> Any:
        """The value as its option wants it, nested kinds as blueprints."""
        prepared = self._prepare(value, hint, path, family)
        fitted, mismatches = check(prepared, hint, _is_made)
        for mismatch in mismatches:
            inner = (*path, *mismatch.inside)
            if mismatch.received is UNKNOWN:
                continue
            source = self.document.interpolation(inner)
            hidden = self.document.is_secret(inner)
            received = "a value" if hidden else show(mismatch.received)
            name = inner[-1] if isinstance(inner[-1], str) else path[-1]
            self._add(
                f"`{name}` does not fit",
                inner,
                expected=mismatch.expected,
                received=received + (f", from {source}" if source else ""),
                remedy=self._decode(source) or mismatch.remedy,
            )
        return fitted if mismatches else self._local(fitted, hint, path)

    def _local(self, value: Any, hint: Any, path: Path) -> Any:
        """A value of an option for paths, as a path on this machine."""
        try:
            return local_value(value, hint)
        except ConfigurationError as error:
            self._add(error.message, path, expected=error.expected, remedy=error.remedy)
            return UNKNOWN

    @staticmethod
    def _decode(source: str | None) -> str | None:
        if source is None or "oc.env" not in source or "oc.decode" in source:
            return None
        return f"an environment variable is text; to read it as a number: ${{oc.decode:{source}}}"

    def _prepare(self, value: Any, hint: Any, path: Path, family: Family) -> Any:
        if path in self.findings.unknown:
            return UNKNOWN
        if isinstance(value, dict):
            if "kind" in value:
                return self.blueprint(value, path, _family(hint, family)) or UNKNOWN
            implied = _dataclass_in(hint)
            if implied is not None:
                return self._implied(value, implied, path, family)
            return {
                key: self._prepare(inner, inner_hint(hint, key, True), (*path, key), family)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [
                self._prepare(inner, inner_hint(hint, index, False), (*path, index), family)
                for index, inner in enumerate(value)
            ]
        return value

    def _implied(self, value: dict[str, Any], target: type, path: Path, family: Family) -> Any:
        """A mapping where a dataclass is wanted: its fields, without a `kind:`."""
        before = len(self.findings.problems)
        table = options_of(target)
        checked = self.options(value, table, path, f"`{path[-1]}`", family)
        if len(self.findings.problems) > before:
            return UNKNOWN
        return Blueprint(target.__name__, target, path, self.document.place(path), checked)

    def _add(self, message: str, path: Path, *, key: bool = False, **details: str | None) -> None:
        self.findings.add(message, self.document.place(path, key=key), path, **details)


def _is_made(value: Any) -> bool:
    return isinstance(value, (Blueprint, _Unknown))


def _holds_unknown(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_unknown, value))
    if isinstance(value, dict):
        return any(map(_holds_unknown, value.values()))
    return value is UNKNOWN


def _family(hint: Any, outer: Family) -> Family:
    """Short names that fit a hint; those of the section where the hint says nothing."""
    for wanted in classes_in(hint):
        for base in wanted.__mro__:
            if base.__name__ in _FAMILY_OF_BASE:
                return _FAMILY_OF_BASE[base.__name__]
    return outer


def _dataclass_in(hint: Any) -> type | None:
    if is_schedule(hint):
        return None
    found = [c for c in classes_in(hint) if dataclasses.is_dataclass(c)]
    return found[0] if len(found) == 1 else None


def _by_position(options: Options, checked: dict[str, Any]) -> tuple[str, ...]:
    """Arguments that go by position: all before `*args` when that is given."""
    if options.rest is not None and checked.get(options.rest):
        return tuple(name for name in options.positional if name in checked)
    return tuple(name for name in options.positional if name in options.positional_only)
