"""Names of a package that are imported when they are asked for.

`import trackside` must not import torch, nor one callback all others. What a package offers is
written down twice, for people and type checkers (`if TYPE_CHECKING: from ... import X as X`) and
for `lazily`; a test holds the two together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from trackside.errors import MisspeltNameError, nearest


def lazily(
    package: str,
    homes: Mapping[str, Sequence[str]],
    *,
    former: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    Args:
        package: Its `__name__`.
        homes: For each of its modules, relative to it, the names to take from there.
        former: Names of before, each with the new one, which is named in the error.

    Example:
        >>> __getattr__, __dir__ = lazily(__name__, {"world": ("World",)})
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise _unknown(package, name, home_of, former or {})
        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return get, listed


def _unknown(
    package: str, name: str, known: Mapping[str, str], former: Mapping[str, str]
) -> Exception:
    if name in former:
        return MisspeltNameError(
            f"`{package}` has no `{name}`",
            received=name,
            remedy=f"it is called `{former[name]}` now",
        )
    meant = nearest(name, known) if name[:1].isupper() else None
    if meant is None:
        return AttributeError(f"module {package!r} has no attribute {name!r}")
    # An AttributeError would be lost in `from package import name`, with the word that was meant.
    return MisspeltNameError(
        f"`{package}` has no `{name}`", received=name, remedy=f"did you mean `{meant}`?"
    )
