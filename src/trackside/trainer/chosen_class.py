"""The class of a trainer follows its model, where that brings its steps."""

from __future__ import annotations

from typing import Any, Self

from trackside.lifecycle.adoption import trainer_class
from trackside.lifecycle.hooks import Callback


class ChosenByModel(Callback[Any]):
    """A trainer that is made with a model of another framework calls the steps of that model."""

    def __new__(cls, model: object = None, *_: object, **options: object) -> Self:
        """An instance of the class, or of one made of it for `model`."""
        made: Self = object.__new__(trainer_class(cls, options.get("model", model)))
        return made
