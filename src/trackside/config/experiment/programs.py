"""A run that a Python function made, made again from what its folder keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.provenance import Provenance
from trackside.config.checking.fitting import check
from trackside.config.checking.options import options_of
from trackside.config.experiment.experiment import Finished
from trackside.config.experiment.trusted import search_path
from trackside.config.text.document import parse
from trackside.config.text.overrides import SOURCE
from trackside.config.text.place import Place
from trackside.config.text.problem import Findings
from trackside.data.loaders import is_cut_here
from trackside.errors import ConfigurationError, Interrupted, Terminated, UsageError, did_you_mean
from trackside.remote.address import Address
from trackside.run_folder.names import SETTINGS
from trackside.secret import as_written, keep_secret, secret_options
from trackside.trainer.program import MAKERS, NOT_KEPT, Program
from trackside.trainer.trainer import Trainer


@dataclass(frozen=True, slots=True)
class KeptProgram:
    """A program as commands take it: what `Experiment` is for a run from a file."""

    program: Program
    resume: Any = None
    overrides: tuple[str, ...] = ()
    """Arguments of the function that this session alone is given, as they may be kept."""

    evaluate: tuple[str, ...] = ()

    @property
    def data(self) -> Mapping[str, Any]:
        """Data sets by name."""
        return self.program.sets

    def trainer(self) -> Trainer:
        """The trainer with everything but data."""
        return self.program.trainer

    def make_data(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Data sets by name: those of `names`, or all."""
        sets = self.program.sets
        return sets if names is None else {name: sets[name] for name in names}

    def validation(self) -> tuple[str, ...]:
        """Names of the data sets that are evaluated during training."""
        validation = self.program.validation
        if isinstance(validation, Mapping):
            return tuple(validation)
        return () if validation is None else ("val",)

    def batch_size_for(self, data: Any) -> int | None:
        """The program's `batch_size`, where `data` has use for it."""
        size: int | None = self.program.options.get("batch_size")
        return size if is_cut_here("data", data) else None

    def finish(self) -> Finished:
        """Go on training; a signal that ended it is reported by what it returns."""
        trainer = self.program.trainer
        for _, one in trainer.callbacks.items():
            if isinstance(one, Provenance):
                one.overrides = self.overrides
        try:
            return Finished(trainer, self.program.fit(resume=self.resume), {})
        except (Interrupted, Terminated) as ended_by:
            return Finished(trainer, ended_by.result, {}, ended_by)


def is_of_python(folder: Path) -> bool:
    """Whether the run in `folder` was made in Python."""
    return (folder / SETTINGS).is_file()


def load_program(
    folder: Path,
    overrides: Iterable[str],
    address: Address | None = None,
    mirror: Path | None = None,
) -> KeptProgram:
    """The program of a run's folder, to go on in that folder.

    Args:
        folder: The run's folder.
        overrides: `name=value` for arguments of the function, and `trainer.resume=...`.
        address: Of its remote folder, where it goes on there as well.
        mirror: Its folder on this machine then; None takes the one of the address.

    Raises:
        UsageError: No function is known that made the run, or it can't be imported.
        ConfigurationError: An override is not an argument of the function, or doesn't fit its hint.
    """
    overrides = list(overrides)
    kept = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    origin = kept.get("made_by")
    if origin is None:
        raise UsageError(
            f"the run in {folder} was made by a Python program that can't be called by its name",
            expected="a run from a file, or of a function marked with `@trackside.program`",
            remedy="in the program, go on with trainer.fit(..., resume='auto') and "
            f"Settings(directory={str(folder)!r}); or move it into such a function",
        )
    make = MAKERS.get((origin["function"], origin.get("search_path")))
    if make is None:
        known = search_path(folder, SETTINGS, [origin.get("search_path")])
        sys.path[:0] = [one for one in known if one and one not in sys.path]
        make = _function(origin["function"])
    arguments, resume = _changed(make, dict(origin["arguments"]), overrides)
    for name in secret_options(make) & {n for n, one in arguments.items() if one == NOT_KEPT}:
        raise UsageError(
            f"the argument `{name}` of the function that made the run is secret: it was not kept",
            remedy=f"give it again: {name}=...",
        )
    program = make(**arguments)
    trainer = program.trainer
    directory = folder if address is None else str(address)
    trainer.settings = replace(trainer.settings, directory=directory, mirror=mirror)
    given = [one for one in overrides if not one.startswith("trainer.resume=")]
    return KeptProgram(program, resume, tuple(_kept(one, make) for one in given))


def _function(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the run was made by `{name}`, which can't be imported: {error}",
            remedy="call the command in the folder of its project, or set PYTHONPATH",
        ) from error
    return found


def _changed(
    make: Any, arguments: dict[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], Any]:
    known, resume = options_of(make).table, None
    for override in overrides:
        name, equals, text = override.partition("=")
        if name == "trainer.resume":
            resume = _value(name, text, str | int | None)
        elif not equals:
            raise ConfigurationError(
                f"`{override}` can't override a run that a function made",
                expected="name=value, for an argument of the function",
                remedy=f"{override}=..." if override in known else None,
            )
        elif name in known:
            if name in secret_options(make):
                keep_secret(text)
            arguments[name] = _value(name, text, known[name].hint)
        else:
            raise ConfigurationError(
                f"`{override}` changes nothing: the function that made the run has no "
                f"argument `{name}`",
                expected=", ".join(known) or "no argument",
                remedy=did_you_mean(name, known),
            )
    return arguments, resume


def _kept(override: str, make: Any) -> str:
    name = override.partition("=")[0]
    return f"{name}={NOT_KEPT}" if name in secret_options(make) else as_written(override)


def _value(name: str, text: str, hint: Any) -> Any:
    """The value of an argument, read as in a file; plain, as the run keeps its arguments."""
    findings = Findings()
    layer = parse(text, SOURCE, findings, before=f"{name}=")
    findings.stop_if_any()
    value = None if layer is None else layer.value
    for wrong in check(value, hint, lambda _: False)[1]:
        findings.add(
            f"`{name}` can't have this value",
            Place(SOURCE, 0, len(name) + 2, f"{name}={text}", max(1, len(text))),
            (name, *wrong.inside),
            expected=wrong.expected,
            received=repr(wrong.received),
            remedy=wrong.remedy,
        )
    findings.stop_if_any()
    return value
