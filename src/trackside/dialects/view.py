"""Views of a run for their callbacks: objects with the attributes of their framework."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from torch import nn
from torch.optim import Optimizer

from trackside.errors import TracksideError, UsageError, nearest
from trackside.run import Evaluation, Run

T = TypeVar("T")


class UnknownAttributeError(TracksideError, AttributeError):
    """A callback reads or writes an attribute of its trainer that has no equal here."""


class View:
    """Stands for the trainer of another framework.

    Subclasses have a property for each attribute that the framework's documents show. Other
    attributes can be set by a callback and read by those that come later, as on a trainer; reading
    one that nobody set is an error that names the native way.
    """

    dialect: ClassVar[str]
    """Name of the framework."""
    stands_for: ClassVar[str]
    """Its name there."""
    instead: ClassVar[Mapping[str, str]] = {}
    """Attributes that are theirs and have no equal in a view, and the native way."""

    refuses_settings: ClassVar[bool] = False
    """Whether attributes that it doesn't declare can't be set: nobody would read them."""

    def __init__(self, *given: Any, **options: Any) -> None:
        if given or options:
            raise UsageError(
                f"a `{self.stands_for}` of the dialect {self.dialect} shows a run, it isn't made",
                received=", ".join([*map(repr, given), *(f"{name}=..." for name in options)]),
                remedy="make a `trackside.Trainer`, and give it the callbacks",
            )
        vars(self).update(_run=None, _store=None, _made=None)

    def meet(self, trainer: Any) -> None:
        """Show a trainer that has no run yet; what is set now is there in the first run."""
        vars(self).update(_made=trainer, _store={})

    @property
    def trainer_without_run(self) -> Any:
        """The trainer, before its first run; None from then on."""
        return vars(self)["_made"] if vars(self)["_run"] is None else None

    def look_at(self, run: Run) -> None:
        """Show `run` from now on."""
        # On the run itself: what is kept there refers to it, and goes with it.
        stores = vars(run).setdefault("_dialects", {})
        store = stores.setdefault(self.dialect, {})
        if vars(self)["_run"] is None:
            store.update(vars(self)["_store"] or {})
        vars(self).update(_run=run, _store=store, _made=None)

    def join(self, run: Run) -> None:
        """Show `run` to one more callback."""
        self.look_at(run)
        self.shared["__callbacks__"] = self.shared.get("__callbacks__", 0) + 1

    @property
    def run(self) -> Run:
        """The run itself, with everything that Trackside has to offer."""
        run: Run | None = vars(self)["_run"]
        if run is None:
            raise self._too_early()
        return run

    @property
    def shared(self) -> dict[str, Any]:
        """Values that all views of this dialect share in this run."""
        store: dict[str, Any] | None = vars(self)["_store"]
        if store is None:
            raise self._too_early()
        return store

    def _too_early(self) -> UsageError:
        return UsageError(
            f"the {self.dialect} callback looks at its {self.stands_for} before the run began",
            remedy="look at it in the hook for the start of training, or later",
        )

    def once(self, key: object, make: Callable[[], T]) -> T:
        """The result of `make`, made once and shared by all callbacks for the same event.

        Args:
            key: Distinguishes the event from the one before it.
            make: Makes what they share: `logs`, say.
        """
        shared = self.shared
        if shared.get("__callbacks__", 1) == 1:
            return make()  # nobody to share it with: what a step returned is not kept beyond it
        made = shared.get("__event__")
        if made is None or made[0] != key:
            made = shared["__event__"] = (key, make())
        value: T = made[1]
        return value

    def begin_epoch(self) -> None:
        """Remember the number of the epoch that begins."""
        self.shared["__epoch__"] = self.run.progress.epochs_closed

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, or of the last one, from 0."""
        number: int = self.shared.get("__epoch__", self.run.progress.epochs_closed)
        return number

    def set_stop(self, wanted: bool) -> None:
        """Ask for the end of training, for views whose callbacks set a flag.

        Raises:
            UsageError: A stop that was asked for is to be taken back.
        """
        if wanted:
            self.run.stop(f"a {self.dialect} callback asked for it")
        elif self.stops:
            raise UsageError(
                "a stop that was asked for can't be taken back",
                remedy="decide before you set the flag: other callbacks have seen it",
            )

    @property
    def stops(self) -> bool:
        """Whether a stop was requested."""
        return self.run.stopping

    # --- attributes that nobody declared -------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("dialect", "stands_for"):
            raise UnknownAttributeError(
                f"the view `{type(self).__name__}` doesn't say its `{name}`",
                remedy="a subclass of `View` sets `dialect` and `stands_for`",
            )
        run: Run | None = vars(self).get("_run")
        if run is not None:
            if name in self.shared:
                return self.shared[name]
            if name in _added_to(type(run)):
                return getattr(run, name)
        raise UnknownAttributeError(
            f"{self.dialect}: a `{self.stands_for}` here has no `{name}`",
            remedy=self._remedy(name),
        )

    def __setattr__(self, name: str, value: Any) -> None:
        declared = inspect.getattr_static(type(self), name, None)
        if isinstance(declared, property):
            if declared.fset is None:
                raise UnknownAttributeError(
                    f"{self.dialect}: `{name}` of a `{self.stands_for}` can't be set here",
                    remedy=self._remedy(name),
                )
            declared.fset(self, value)
        elif name in self.instead or self.refuses_settings:
            raise UnknownAttributeError(
                f"{self.dialect}: a `{self.stands_for}` here has no `{name}` to set",
                remedy=self._remedy(name),
            )
        else:
            self.shared[name] = value

    def _remedy(self, name: str) -> str:
        if name in self.instead:
            return self.instead[name]
        known = [n for n in dir(type(self)) if not n.startswith("__") and n != name]
        meant = None if hasattr(type(self), name) else nearest(name, known)
        guess = f"did you mean `{meant}`? " if meant else ""
        return f"{guess}A `trackside.Callback` reads the run itself: `{self.stands_for}.run` here"


def _added_to(run_class: type[Run]) -> set[str]:
    """Attributes that a subclass of `Run`, and its mixins, add to it."""
    names: set[str] = set()
    for cls in run_class.__mro__:
        if cls not in Run.__mro__:
            names |= {*vars(cls), *vars(cls).get("__annotations__", ())}
    return names


# --- what several views need of a run ----------------------------------------------------------


def ends_step(run: Run) -> bool:
    """Whether the batch that was just counted is the last one of its step."""
    done = run.progress.epoch_batches_completed
    return done % run.accumulate == 0 or done == run.data["train"].batches


def validation_name(run: Run) -> str | None:
    """The data set that their one validation is: `val`, else the first that isn't for training."""
    sets = so_far(run, "data")
    return "val" if "val" in sets else next((name for name in sets if name != "train"), None)


def is_validation(run: Run, evaluation: Evaluation) -> bool:
    """Whether `evaluation` is the one that their hooks are about."""
    return run.mode == "evaluate" or evaluation.name == validation_name(run)


def epochs_of(run: Run) -> int | None:
    """Epochs of the run, or None when that isn't known."""
    limit = run.limit
    if limit.epochs is not None or limit.total_steps is None or not limit.epoch_steps:
        return limit.epochs
    return -(-limit.total_steps // limit.epoch_steps)


def so_far(run: Run, name: str) -> Mapping[str, Any]:
    """`run.models`, `run.data` and so on; empty where a run has none of them yet.

    Other trainers let callbacks look at any time, where a run says that it is too early.
    """
    known: Mapping[str, Any] = getattr(run, name, {})
    return known


def optimizer_of(run: Run) -> Optimizer | None:
    """The optimizer; with several, the first; None where a run has none, as in an evaluation."""
    found: Optimizer | None = next(iter(so_far(run, "optimizers").values()), None)
    return found


def prefixes(run: Run, train: str, validation: str) -> dict[str, str]:
    """Prefixes of our names of metrics, and theirs, whatever the validation data is called."""
    return {"train/": train, f"{validation_name(run) or 'val'}/": validation}


def model_of(run: Run, optimizer: Optimizer) -> nn.Module:
    """The model that `optimizer` trains."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for model in run.models.values():
        if any(id(parameter) in held for parameter in model.parameters()):
            return model
    return run.model
