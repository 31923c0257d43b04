"""The sections of a file, each checked by what it stands for."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking import kinds, trial
from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.kinds import Family, KindError
from trackside.config.checking.options import Option, attributes_of, options_of
from trackside.config.checking.trainer_options import trainer_options
from trackside.config.checking.values import UNKNOWN, Checker
from trackside.config.checking.wording import show
from trackside.config.experiment.experiment import Experiment
from trackside.config.text.layers import Document
from trackside.config.text.place import Path
from trackside.config.text.problem import Findings
from trackside.data.loaders import Batching
from trackside.errors import did_you_mean, nearest
from trackside.lifecycle.adoption import brings_steps
from trackside.lifecycle.hooks import Callback
from trackside.step.optimization import Scheduler
from trackside.trainer import defaults
from trackside.trainer.trainer import Trainer
from trackside.vocabulary import renamed

SECTIONS = {
    "seed": "Seeds every generator at the start of each run.",
    "model": "What is trained: one `kind:`, or several by name.",
    "data": "Data sets by name: `train`, `val`, or any other; and `batch_size`, `drop_last`.",
    "loss": "From prediction and target to the mean loss of a batch.",
    "metrics": "By name; computed in evaluations.",
    "optimizer": "Takes the model's parameters.",
    "scheduler": "Changes the learning rate; `interval` says whether after each step or epoch.",
    "trainer": "How long, how often, where, with what precision.",
    "callbacks": "By name, or as a list; null removes a default.",
    "evaluate": "Names of data sets that are evaluated once training is over.",
    "secrets": "Keys whose values are used and never shown: `callbacks.notify.url`.",
}
"""All sections, in the order in which they are best written."""

ATTRIBUTES = ("runs_after", "runs_before", "on_error", "switch_off_after", "rank_zero_only")
"""Attributes of every callback that may stand beside its options."""


def callback_attributes() -> dict[str, Option]:
    """The options that every callback has, from their declarations on `Callback`."""
    declared = attributes_of(Callback)
    order = tuple[str, ...]
    typed = {"runs_after": order, "runs_before": order}
    return {
        name: Option(
            name, typed.get(name, declared[name].hint), declared[name].default, declared[name].doc
        )
        for name in ATTRIBUTES
    }


class Sections:
    """Checks a document section by section."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self.document = document
        self.findings = findings
        self.value = document.value
        self.checker = Checker(document, findings)
        self.misspelt: set[str | None] = set()
        """Sections that an unknown one was probably meant to be: not missed as well."""

    def experiment(self) -> Experiment | None:
        """The experiment; None when anything is wrong."""
        for key in self.value:
            if key not in SECTIONS:
                self.misspelt.add(nearest(str(key), SECTIONS))
                self._add(
                    f"`{key}` is not a section",
                    (key,),
                    key=True,
                    remedy=did_you_mean(str(key), SECTIONS),
                )
        trainer_class = self._trainer_class()
        keys = trainer_options(trainer_class)
        data, batching = self._data()
        model = self._model(trainer_class)
        parts: dict[str, Any] = {
            "seed": self._fit("seed", int | None),
            "trainer_values": self._trainer(keys, set(data)),
            "model": model,
            "loss": self._one("loss", kinds.LOSSES, called_later=2),
            "optimizer": self._optimizer(model),
            "metrics": self._metrics(),
            "callbacks": self._callbacks(),
            "evaluate": self._evaluate(set(data)),
        }
        parts["scheduler"], parts["scheduler_values"] = self._scheduler()
        made = [*parts["callbacks"].values(), *parts["metrics"].values(), parts["loss"]]
        sound = [one for one in made if one is not None and one is not _BROKEN]
        self.findings.problems += trial.refusals(sound)
        self.findings.problems += trial.optimizer_refusals(parts["optimizer"], parts["scheduler"])
        if self.findings:
            return None
        return Experiment(
            self.document,
            trainer_class=trainer_class,
            keys=keys,
            data=data,
            batching=batching,
            **parts,
        )

    # --- the sections --------------------------------------------------------------------------

    def _trainer_class(self) -> type[Trainer]:
        section = self.value.get("trainer")
        kind = section.get("kind") if isinstance(section, dict) else None
        if kind is None:
            return Trainer
        path: Path = ("trainer", "kind")
        try:
            found = kinds.TRAINERS.resolve(str(kind))
        except KindError as error:
            self._add(error.message, path, expected=error.expected, remedy=error.remedy)
            return Trainer
        if isinstance(found, type) and issubclass(found, Trainer):
            return found
        self._add(f"`{kind}` is not a trainer", path, expected="a subclass of trackside.Trainer")
        return Trainer

    def _trainer(self, keys: Any, data: set[str]) -> dict[str, Any]:
        section = self._mapping("trainer")
        given = {key: value for key, value in section.items() if key != "kind"}
        values = self.checker.options(given, keys.options, ("trainer",), "`trainer:`", kinds.MODELS)
        limited = {"epochs", "steps"} & section.keys() or "trainer" in self.misspelt
        if not limited and self._is_mapping("trainer"):
            self._add(
                "there is no limit: training would never end",
                ("trainer",),
                key=True,
                expected="`epochs:`, `steps:`, or both under `trainer:`",
            )
        names = values.get("validation")
        for name in [names] if isinstance(names, str) else names if isinstance(names, list) else []:
            self._known_data(name, ("trainer", "validation"), data)
        return values

    def _data(self) -> tuple[dict[str, Blueprint], Batching]:
        section = self._mapping("data")
        batching: dict[str, Any] = {}
        found: dict[str, Blueprint] = {}
        for name, value in section.items():
            if name == "batch_size":
                batching["size"] = self.checker.fit(value, int | None, ("data", name), kinds.DATA)
            elif name == "drop_last":
                batching[name] = self.checker.fit(value, bool, ("data", name), kinds.DATA)
            elif value is not None:
                made = self.checker.blueprint(value, ("data", name), kinds.DATA)
                found[name] = made or _BROKEN
        wanted = self._is_mapping("data") and "data" not in self.misspelt
        if wanted and section.get("train") is None and ("data",) not in self.findings.unknown:
            near = nearest("train", [str(key) for key in section])
            self._add(
                "there is no data named `train`",
                ("data",),
                key=True,
                expected="data: {train: {kind: ...}}",
                remedy=f"write `train` for `{near}`" if near else None,
            )
        return found, Batching(**batching)

    def _model(self, trainer_class: type[Trainer]) -> Any:
        value, path = self.value.get("model"), ("model",)
        if value is None:
            if (
                "model" not in self.misspelt
                and trainer_class.configure_model is Trainer.configure_model
            ):
                self._add(
                    "there is no model", path, key=True, expected="model: {kind: my_module.MyModel}"
                )
            return None
        if isinstance(value, dict) and value and all(map(_names_a_kind, value.values())):
            return {
                name: self._checked(one, (*path, name), kinds.MODELS, nn.Module)
                for name, one in value.items()
            }
        return self._checked(value, path, kinds.MODELS, nn.Module)

    def _optimizer(self, model: Any) -> Blueprint | None:
        value = self.value.get("optimizer")
        if value is None:
            trainer = self._trainer_class()
            own = trainer.configure_optimizers is not Trainer.configure_optimizers
            own = own or (isinstance(model, Blueprint) and brings_steps(model.makes))
            if not own and "optimizer" not in self.misspelt:
                self._add(
                    "there is no optimizer",
                    ("optimizer",),
                    key=True,
                    expected="optimizer: {kind: adamw, lr: 1e-3}",
                )
            return None
        return self._checked(value, ("optimizer",), kinds.OPTIMIZERS, Optimizer, called_later=1)

    def _scheduler(self) -> tuple[Blueprint | None, dict[str, Any]]:
        value = self.value.get("scheduler")
        if value is None:
            return None, {}
        own: dict[str, Any] = {
            n: o for n, o in options_of(Scheduler).table.items() if n != "factory"
        }
        values: dict[str, Any] = {}
        if isinstance(value, dict):
            for key in own.keys() & value.keys():
                at = ("scheduler", key)
                values[key] = self.checker.fit(value[key], own[key].hint, at, kinds.SCHEDULERS)
            old = renamed.OPTIONS["Scheduler"]
            for key in old.keys() & value.keys():
                remedy = f"it is called `{old[key]}` now"
                word = f"`{key}` is not an option of a scheduler"
                self._add(word, ("scheduler", key), key=True, remedy=remedy)
            own |= dict.fromkeys(old)
            value = {key: inner for key, inner in value.items() if key not in own}
        made = self._checked(value, ("scheduler",), kinds.SCHEDULERS, None, called_later=1)
        return made, values

    def _metrics(self) -> dict[str, Blueprint]:
        found = {}
        for name, value in self._mapping("metrics").items():
            if value is not None:
                path = ("metrics", name)
                made = self._checked(
                    value, path, kinds.METRICS, None, called_later=2, classes=False
                )
                found[name] = made or _BROKEN
        return found

    def _callbacks(self) -> dict[str, Blueprint | None]:
        section = self._mapping("callbacks")
        known = {*defaults.DEFAULTS, *self._names_below()}
        attributes = callback_attributes()
        found: dict[str, Blueprint | None] = {}
        for name, value in section.items():
            path: Path = ("callbacks", name)
            if value is None:
                if name in defaults.DEFAULTS:
                    found[name] = None
                elif name not in known:
                    self._add(
                        f"there is no callback named `{name}` to remove",
                        path,
                        key=True,
                        remedy=did_you_mean(str(name), known),
                    )
                continue
            if isinstance(value, dict):
                value = {key: inner for key, inner in value.items() if key != "name"}
            made = self.checker.blueprint(
                value,
                path,
                kinds.CALLBACKS,
                attributes=attributes,
                default_kind=self._kind_of_default(str(name)),
            )
            if made is not None and isinstance(made.target, type) and not has_hooks(made.target):
                self._add(
                    f"`{made.kind}` is not a callback: it has no hooks",
                    (*path, "kind"),
                    expected="a subclass of trackside.Callback",
                )
            found[name] = made or _BROKEN
        return found

    def _names_below(self) -> set[str]:
        """Names that any file gives a callback to: removing one again is not a mistake."""
        layers = [layer.value for layer in self.document.layers if isinstance(layer.value, dict)]
        sections = [value.get("callbacks") for value in layers]
        return {n for s in sections if isinstance(s, dict) for n, v in s.items() if v is not None}

    @staticmethod
    def _kind_of_default(name: str) -> str:
        """The class behind `callbacks: {progress: {...}}`: the default's, by its short name."""
        if name not in defaults.DEFAULTS:
            return name
        reference = ".".join(defaults.DEFAULTS[name])
        short = {one.reference: one.name for one in builtin_callbacks().values()}
        return short.get(reference, reference)

    def _evaluate(self, data: set[str]) -> tuple[str, ...]:
        names = self._fit("evaluate", str | list[str] | None)
        if names is None or names is UNKNOWN or not isinstance(names, (str, list)):
            return ()
        names = [names] if isinstance(names, str) else names
        for index, name in enumerate(names):
            at: Path = ("evaluate", index) if len(names) > 1 else ("evaluate",)
            self._known_data(name, at, data)
        return tuple(names)

    # --- what several of them need -------------------------------------------------------------

    def _one(self, section: str, family: Family, *, called_later: int) -> Blueprint | None:
        value = self.value.get(section)
        if value is None:
            return None
        return self._checked(value, (section,), family, None, called_later, classes=False)

    def _checked(
        self,
        value: Any,
        path: Path,
        family: Family,
        base: type | None,
        called_later: int = 0,
        classes: bool = True,
    ) -> Blueprint | None:
        """The blueprint of a section.

        Args:
            value: What stands there.
            path: Where.
            family: Its short names.
            base: The class that it has to make.
            called_later: How many leading arguments the trainer fills in.
            classes: Whether classes, too, wait for these arguments, not functions only.
        """
        supplied = self._supplied(value, family, called_later, classes)
        return self.checker.blueprint(
            value, path, family, supplied=supplied, partial=bool(supplied), base=base
        )

    @staticmethod
    def _supplied(value: Any, family: Family, count: int, classes: bool) -> tuple[str, ...]:
        kind = value.get("kind") if isinstance(value, dict) else value
        if not count or not isinstance(kind, str):
            return ()
        try:
            target: Callable[..., Any] = family.resolve(kind)
        except KindError:
            return ()  # reported when the kind is checked
        if isinstance(target, type) and not classes:
            return ()
        return options_of(target).positional[:count]

    def _mapping(self, section: str) -> dict[Any, Any]:
        value = self.value.get(section)
        if value is None or (section,) in self.findings.unknown:
            return {}
        if isinstance(value, dict):
            return value
        also = ", or a list" if section == "callbacks" else ""
        self._add(
            f"`{section}` does not fit",
            (section,),
            expected=f"a mapping{also}",
            received=show(value),
        )
        return {}

    def _is_mapping(self, section: str) -> bool:
        return isinstance(self.value.get(section), dict | types.NoneType)

    def _fit(self, section: str, hint: Any) -> Any:
        return self.checker.fit(self.value.get(section), hint, (section,), kinds.MODELS)

    def _known_data(self, name: Any, path: Path, data: set[str]) -> None:
        if name not in data:
            self._add(
                f"there is no data named `{name}`", path, remedy=did_you_mean(str(name), data)
            )

    def _add(self, message: str, path: Path, *, key: bool = False, **details: str | None) -> None:
        self.findings.add(message, self.document.place(path, key=key), path, **details)


def has_hooks(target: type) -> bool:
    """Whether a class looks like a callback: ours, or one of another system's that we can run."""
    if issubclass(target, Callback):
        return True
    return any(name.startswith(_HOOK_PREFIXES) for name in dir(target))


_HOOK_PREFIXES = ("on_", "before_", "after_", "pre_", "post_")


def _names_a_kind(value: Any) -> bool:
    return isinstance(value, dict) and "kind" in value


_BROKEN = Blueprint("?", object, ())
