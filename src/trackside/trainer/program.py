"""Programs: a trainer and what it is given, made by a function that can be called again.

A run from a file is made again from that file. A run made in Python is made again by the function
that made it, from its name and arguments, which the run's folder keeps: `trackside resume`,
`evaluate` and `predict` then work for it too.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec

from trackside.errors import UsageError
from trackside.secret import keep_secret, secret_options
from trackside.trainer.settings import Result
from trackside.trainer.trainer import Trainer

P = ParamSpec("P")

MAKERS: dict[tuple[str, str | None], Callable[..., Any]] = {}
"""Functions that this process has marked, by their name and the folder of their module: a script is
not imported a second time by a command that it calls itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """Description of a run: the trainer, and the arguments of its `fit`."""

    trainer: Trainer
    train: Any
    """The training data."""
    validation: Any = None
    """Data that is evaluated during training, or several by name."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """More data by name, such as `test`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `Trainer.fit`: `epochs`, `steps`, `evaluate_every`, `batch_size`, ..."""

    @property
    def sets(self) -> dict[str, Any]:
        """All data sets by name; a single one for validation is called `val`."""
        several = self.validation if isinstance(self.validation, Mapping) else None
        evaluated = {"val": self.validation} if several is None else dict(several)
        named = {"train": self.train, **evaluated, **self.data}
        return {name: data for name, data in named.items() if data is not None}

    def fit(self, **options: Any) -> Result:
        """Train; `options` are those of `Trainer.fit`, in place of the program's own."""
        arguments = {**self.options, **options}
        return self.trainer.fit(self.train, self.validation, data=dict(self.data), **arguments)


def program(make: Callable[P, Program]) -> Callable[P, Program]:
    """Let the runs of a function's program be made again, from the folder of one of them.

    The function has to be importable, and its arguments values of JSON. Those with the hint
    `Secret` are not kept: a command needs them again, `trackside resume RUN token=...`.

    Example:
        >>> @program
        ... def digits(lr: float = 3e-3) -> Program:
        ...     trainer = Trainer(...)
        ...     return Program(trainer, train, validation, options={"epochs": 10})
        >>> digits(lr=1e-3).fit()

    Raises:
        UsageError: The function is a lambda or stands inside another one.
    """
    name, folder = _importable(make)

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Program:
        bound = inspect.signature(make).bind(*args, **kwargs)
        try:
            arguments = json.loads(json.dumps(bound.arguments))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the arguments of `{make.__name__}` can't be kept with the run: {error}",
                expected="numbers, text, lists and mappings",
                remedy="make other objects inside the function, from such values",
            ) from error
        for secret in secret_options(make) & arguments.keys():
            keep_secret(arguments[secret])
        found = make(*args, **kwargs)
        if not isinstance(found, Program):
            raise UsageError(
                f"`{make.__name__}` returns no program",
                expected="trackside.Program(trainer, train, ...)",
                received=type(found).__name__,
            )
        kept = arguments | dict.fromkeys(secret_options(make) & arguments.keys(), NOT_KEPT)
        found.trainer.made_by = {"function": name, "arguments": kept, "search_path": folder}
        return found

    MAKERS[name, folder] = made
    return made


NOT_KEPT = "???"
"""Stands for an argument that is secret, where a run keeps its arguments."""


def _importable(make: Callable[..., Any]) -> tuple[str, str | None]:
    """The name `module:function` under which `make` can be imported, and the folder to look in."""
    name = make.__qualname__
    if "<" in name:
        raise UsageError(
            f"`{name}` can't be imported by its name", remedy="define it at the top of a module"
        )
    module = make.__module__
    holder = sys.modules.get(module)
    file = getattr(holder, "__file__", None)
    if module == "__main__":
        spec = getattr(holder, "__spec__", None)
        if spec is not None and spec.name != "__main__":  # `python -m`
            module = spec.name
        elif file is None:
            raise UsageError(
                f"`{name}` was defined in a session, and can't be imported",
                remedy="put it into a file",
            )
        else:  # a script: its module has the name of its file
            module = Path(file).stem
    return f"{module}:{name}", None if file is None else _folder_of(module, Path(file))


def _folder_of(module: str, file: Path) -> str | None:
    """The folder from which `module` is imported; None of what is installed, which is found."""
    above = module.count(".") + (file.name == "__init__.py")
    folder = file.resolve().parents[above]
    return None if folder.name in ("site-packages", "dist-packages") else str(folder)
