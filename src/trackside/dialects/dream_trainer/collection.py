"""Dream Trainer's collection of callbacks, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackside.errors import UnknownCallbackError
from trackside.lifecycle.collection import CallbackCollection as Collection


class CallbackCollection(dict[str, Any]):
    """Callbacks by name: `Trainer(callbacks=CallbackCollection([...]))`.

    Args:
        callbacks: A list, whose names are those of the classes; or pairs, or a mapping.
    """

    def __init__(self, callbacks: Iterable[Any] | Mapping[str, Any] = ()) -> None:
        super().__init__()
        self._of: Collection | None = None
        if isinstance(callbacks, Mapping):
            self.update(callbacks)
            return
        for callback in callbacks:
            if isinstance(callback, tuple):
                self[callback[0]] = callback[1]
            else:
                self.append(callback)

    def append(self, callback: Any) -> None:
        """Add a callback under the name of its class; a second one gets a number."""
        name, number = type(callback).__name__, 2
        while name in self:
            name, number = f"{type(callback).__name__}_{number}", number + 1
        self[name] = callback

    def initialize(self, trainer: Any) -> None:
        """Give the callbacks to a trainer, which checks what they need.

        Raises:
            RegistrationError: One of them can't join.
        """
        self._of = trainer.callbacks
        for name, callback in self.items():
            if name not in self._of:
                self._of.append(callback, name)

    def refresh(self) -> None:
        """Look again which hooks the callbacks override, and who is among them."""
        if self._of is not None:
            for name, callback in self.items():
                self._of[name] = callback
            self._of.refresh()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """States by name, of those that have any."""
        own = {n: c.state_dict() for n, c in self.items() if hasattr(c, "state_dict")}
        return {name: state for name, state in own.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, dict[str, Any]]) -> None:
        """Restore states by name.

        Raises:
            UnknownCallbackError: There is a state of a callback that isn't here.
        """
        for name, state in state_dict.items():
            if name not in self:
                raise UnknownCallbackError.among(self, name, "whose state is to be loaded")
            self[name].load_state_dict(state)
