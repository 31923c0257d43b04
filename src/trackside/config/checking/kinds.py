"""Values of `kind:`: a fully qualified name, or the short name of something well known.

Short names are looked up by section: `kind: adamw` is an optimizer under `optimizer:`. Upper and
lower case, and underscores, don't matter: `AdamW`, `adamw` and `adam_w` are one. Nothing is
imported until a `kind:` names it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Any, final

from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.adoption import maker_of, ours_for
from trackside.lifecycle.collection import snake_case
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.injection import parts_needed, with_parts

ENTRY_POINTS = "trackside.callbacks"
"""Packages add short names of callbacks under this group of entry points."""


class KindError(ConfigurationError):
    """A `kind:` that names nothing, or something that can't be imported."""


@final
@dataclass(frozen=True)
class Family:
    """Short names that mean something in one section."""

    noun: str
    """Noun for one of them in messages."""
    names: Callable[[], dict[str, str]]
    """Short names, as they are best written, and the fully qualified name behind each."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Those of Trackside itself: found without importing where the others come from."""

    def resolve(self, kind: str) -> Callable[..., Any]:
        """The object that `kind` names, imported.

        Raises:
            KindError: Nothing of that name, or importing it fails.
        """
        target = import_name(ours_for(kind) if "." in kind else self._reference(kind))
        if isinstance(target, type) and hasattr(target, "with_options"):
            # Its constructor takes a configuration object; a file has the options of that.
            target = target.with_options()
        elif isinstance(target, type):
            target = maker_of(target) or _with_parts(target)
        if not callable(target):
            raise KindError(
                f"`{kind}` can't be called: it is of type {type(target).__name__}",
                expected="a class or a function",
            )
        return target  # type: ignore[no-any-return]

    def _reference(self, kind: str) -> str:
        if bare(kind) in self.own:
            return self.own[bare(kind)]
        names = self.names()
        spellings = {bare(name): reference for name, reference in names.items()}
        # The class's own name is a spelling as well: `CrossEntropyLoss` beside `cross_entropy`.
        for reference in names.values():
            spellings.setdefault(bare(reference.rpartition(".")[2]), reference)
        found = spellings.get(bare(kind))
        if found is None:
            raise KindError(
                f"there is no {self.noun} named `{kind}`",
                remedy=_or_dotted(did_you_mean(kind, names)),
            )
        return found


@cache
def _classes(
    module: str, base: str, *, suffix: str = "", optional_suffix: str = "", as_written: bool = False
) -> dict[str, str]:
    """The classes of one module under their names in snake case.

    Args:
        module: Imported here.
        base: Name in it of the class that all of them derive from; it is not one of them.
        suffix: Only classes whose name ends in it; it is left out of the short name.
        optional_suffix: Left out of the short name where a name has it.
        as_written: Whether names stay as they are, instead of in snake case.
    """
    namespace = vars(importlib.import_module(module))
    parent = namespace.get(base) or import_name(f"{module.partition('.')[0]}.{base}")
    found = {}
    for name, value in namespace.items():
        kept = isinstance(value, type) and issubclass(value, parent) and name[0] != "_"
        if kept and name not in (base, "Module") and name.endswith(suffix):
            short = name.removesuffix(suffix).removesuffix(optional_suffix) or name
            found[name if as_written else _snake(short)] = f"{module}.{name}"
    return found


def registered_callbacks() -> list[EntryPoint]:
    """Callbacks of installed packages; the name of a built-in can't be taken."""
    points = entry_points(group=ENTRY_POINTS)
    return sorted((p for p in points if p.name not in builtin_callbacks()), key=lambda p: p.name)


def _callbacks() -> dict[str, str]:
    registered = {e.name: e.value.replace(":", ".") for e in registered_callbacks()}
    return {b.name: b.reference for b in builtin_callbacks().values()} | registered


_OWN_METRICS = {"accuracy": "trackside.step.accuracy.accuracy"}


def _metrics() -> dict[str, str]:
    """Trackside's own, and those of torchmetrics where it is installed."""
    if find_spec("torchmetrics") is None:
        return _OWN_METRICS
    classes = _classes("torchmetrics.classification", "Metric") | _classes("torchmetrics", "Metric")
    return classes | _OWN_METRICS


def _schedulers() -> dict[str, str]:
    """Those of torch, and the one that it lacks."""
    own = "trackside.callbacks.scheduling.warmup_stable_decay.WarmupStableDecayLR"
    torchs = _classes("torch.optim.lr_scheduler", "LRScheduler", optional_suffix="LR")
    return torchs | {"warmup_stable_decay": own}


def _data() -> dict[str, str]:
    sets = _classes("torch.utils.data", "Dataset")
    return sets | {"data_loader": "torch.utils.data.DataLoader"}


CALLBACKS = Family("callback", _callbacks)
MODELS = Family("module", partial(_classes, "torch.nn", "Module", as_written=True))
LOSSES = Family("loss", partial(_classes, "torch.nn", "Module", suffix="Loss"))
OPTIMIZERS = Family("optimizer", partial(_classes, "torch.optim", "Optimizer"))
SCHEDULERS = Family("scheduler", _schedulers)
METRICS = Family("metric", _metrics, _OWN_METRICS)
DATA = Family("data set or loader", _data)
TRAINERS = Family("trainer", lambda: {"trainer": "trackside.trainer.trainer.Trainer"})


def bare(name: str) -> str:
    """A name without what may be written in several ways."""
    return name.replace("_", "").replace("-", "").lower()


def import_name(name: str) -> Any:
    """The object with a fully qualified name, importing the modules in it and no others.

    Raises:
        KindError: There is no such module or attribute, or importing raised an error.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise KindError(
            f"`{name}` is not the name of a class or function",
            expected="a name such as my_module.MyClass",
        )
    found: Any = None
    for index, part in enumerate(parts):
        if index and not isinstance(getattr(found, part, None), (ModuleType, type(None))):
            found = getattr(found, part)
            continue
        module = None
        if index == 0 or hasattr(found, "__path__"):
            module = _import_module(".".join(parts[: index + 1]))
        if module is not None:
            found = module
        elif index == 0:
            tops = {m.name for m in pkgutil.iter_modules()} | {
                n.partition(".")[0] for n in sys.modules
            }
            raise KindError(
                f"there is no module `{part}`",
                remedy=_near(part, tops)
                or "install the package, or put the file beside the configuration",
            )
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            raise KindError(
                f"`{'.'.join(parts[:index])}` has no `{part}`",
                remedy=did_you_mean(part, [n for n in dir(found) if not n.startswith("_")]),
            )
    return found


def _import_module(name: str) -> ModuleType | None:
    """The module; None when there is no module of that name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise KindError(f"importing `{name}` failed: {error}") from error
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise KindError(f"importing `{name}` failed: {type(error).__name__}: {error}") from error


def _near(word: str, known: Iterable[str]) -> str | None:
    remedy = did_you_mean(word, known)
    return remedy if remedy and remedy.startswith("did you mean") else None


def _or_dotted(remedy: str | None) -> str:
    if remedy and remedy.startswith("did you mean"):
        return remedy
    own = "your own by its full name, such as my_module.MyClass"
    return f"{remedy}; {own}" if remedy else own


def _snake(name: str) -> str:
    """`CrossEntropy` is `cross_entropy`; what is mostly capitals stays together: `adamw`."""
    split = snake_case(name)
    return name.lower() if any(len(word) == 1 for word in split.split("_")) else split


def _with_parts(target: type) -> Callable[..., Any]:
    """A class itself, or, where its constructor takes parts of the run, a function of the rest."""
    takes = issubclass(target, Callback) and parts_needed(target)
    return with_parts(target) if takes else target
