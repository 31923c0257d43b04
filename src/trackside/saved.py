"""Whether state that comes back from a checkpoint is of the kind that was saved.

Digests tell what was damaged by chance. Whoever edits a checkpoint and seals it again, or makes one
with another program, gets past them: a wrong kind, shape or value must then be refused by its place
before any of it is put back, and not met by some later line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from trackside.errors import CheckpointError

logger = logging.getLogger("trackside")


def checked(state: object, **kinds: Any) -> dict[str, Any]:
    """`state`, a mapping that has the names of `kinds`, each with a value of that kind.

    Args:
        state: What was saved.
        **kinds: Type hints by name, such as `waited=int` or `best=float | None`. Numbers are
            strict: a text of digits isn't one, nor is True.

    Raises:
        CheckpointError: Names the place, what is expected and what is there.
    """
    check(dict[str, Any], state, "")
    assert isinstance(state, dict)
    for name, kind in kinds.items():
        if name not in state:
            raise refused(name, "a value", "nothing")
        check(kind, state[name], name)
    return state


def check(kind: Any, value: object, place: str) -> None:
    """Refuse `value`, which stands at `place`, where it isn't of the type hint `kind`."""
    # Here, because a program that resumes nothing needs no validation.
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(filter(None, (place, *map(str, first["loc"]))))
        raise refused(where, first["msg"], first["input"]) from None


def refused(place: str, expected: str, value: object) -> CheckpointError:
    """The error for `value`, which stands at `place` in a checkpoint."""
    shown = repr(value)
    return CheckpointError(
        f"the checkpoint holds at `{place or 'the top'}` what no run has saved there",
        expected=expected,
        received=shown if len(shown) <= 60 else f"{shown[:57]}...",
        remedy="resume from another checkpoint: this one was edited, or made by another program",
    )


def is_of_metric(state: object, who: str, monitor: str, mode: str) -> bool:
    """Whether what was saved is of this metric; warns of one that is of another.

    Args:
        state: What was saved. One that doesn't say (`monitor`, `mode`) is of this metric.
        who: Takes it, by name.
        monitor: Name of the metric that it watches now.
        mode: Which way is better.

    Raises:
        CheckpointError: It says something else than names.
    """
    check(dict[str, Any], state, "")
    assert isinstance(state, dict)
    own = {"monitor": monitor, "mode": mode}
    saved = checked({name: state.get(name, own[name]) for name in own}, monitor=str, mode=str)
    if saved == own:
        return True
    logger.warning(
        "%s starts from nothing: the checkpoint is of the metric %s (%s), it watches %s (%s) now",
        *(who, saved["monitor"], saved["mode"], monitor, mode),
    )
    return False


def check_options(place: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse options and counters of other kinds than those that are there now, or without them.

    Args:
        place: Where they stand.
        saved: What the checkpoint says.
        own: What the same object says of itself before it takes that.
    """
    for name, value in own.items():
        if name in saved:
            _like(saved[name], value, f"{place}.{name}")
        elif isinstance(value, (int, float, tuple)) and not isinstance(value, bool):
            raise refused(f"{place}.{name}", f"a value such as {value!r}", "nothing")


_LARGEST = 2**63 - 1


def _like(saved: Any, own: Any, place: str) -> None:
    if isinstance(own, bool):
        check(bool | None, saved, place)
    elif isinstance(own, (int, float)):
        if getattr(saved, "ndim", None) == 0:  # a number that is kept as a tensor
            return
        check(float, saved, place)
        if isinstance(saved, int) and abs(saved) > _LARGEST:
            raise refused(place, "a number of 64 bits", saved)
    elif isinstance(own, str):
        check(str, saved, place)
    elif isinstance(own, (list, tuple)):
        check(list[Any] | tuple[Any, ...], saved, place)
        if len(saved) < len(own):
            raise refused(place, f"{len(own)} values", saved)
        for index, (one, other) in enumerate(zip(saved, own, strict=False)):
            _like(one, other, f"{place}.{index}")
