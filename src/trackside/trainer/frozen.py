"""A mapping that can be read by everybody, and changed by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from trackside.errors import UsageError


class Frozen(dict[str, Any]):
    """A dict that refuses every change; mappings inside are frozen as well.

    Args:
        values: Its content.
        what: Name of it, for the error.
    """

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        inner = {k: Frozen(v, what) if isinstance(v, Mapping) else v for k, v in values.items()}
        super().__init__(inner)
        self._what = what

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(
            f"{self._what} can't be changed: it says how the run was made",
            remedy=f"keep values of your own elsewhere, or copy it: `dict({self._what})`",
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {k: v.__deepcopy__(memo) if isinstance(v, Frozen) else v for k, v in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
