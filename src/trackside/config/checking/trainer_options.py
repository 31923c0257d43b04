"""The keys of `trainer:`, derived from the trainer's own signatures.

They are the options of its constructor, of `Settings` and of `fit`, in one mapping; what other
sections give (model, data, callbacks, ...) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trackside.config.checking.options import Option, Options, attributes_of, options_of
from trackside.trainer.settings import Settings
from trackside.trainer.trainer import Trainer

SECTIONS = ("model", "loss", "optimizer", "scheduler", "metrics", "callbacks", "seed")
"""Options of the constructor that are sections of their own."""
FROM_DATA = ("self", "train", "data", "batch_size", "drop_last")
"""Options of `fit` that the section `data:` gives."""

VALIDATION = Option(
    "validation",
    str | list[str] | None,
    None,
    "Names of the data sets that are evaluated during training; by default `val`, if there is one.",
)


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """Destination of each key."""

    options: Options
    constructor: frozenset[str]
    settings: frozenset[str]
    fit: frozenset[str]

    def split(
        self, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Values for the constructor, for `Settings` and for `fit`."""
        groups = (self.constructor, self.settings, self.fit)
        constructor, settings, fit = ({n: v for n, v in values.items() if n in g} for g in groups)
        return constructor, settings, fit


def trainer_options(trainer: type[Trainer] = Trainer) -> TrainerOptions:
    """The keys of `trainer:` for a trainer of that class."""
    made = options_of(trainer)
    constructor = {n: o for n, o in made.table.items() if n not in (*SECTIONS, "settings")}
    settings = attributes_of(Settings) if "settings" in made.table or made.open else {}
    fit = {n: o for n, o in options_of(trainer.fit).table.items() if n not in FROM_DATA}
    fit["validation"] = VALIDATION
    table = {**fit, **constructor, **settings}
    return TrainerOptions(
        replace(made, table=table, open=False),
        frozenset(constructor),
        frozenset(settings),
        frozenset(fit),
    )
