"""The members of a collection: found by name, by instance and by class, however many they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from trackside.lifecycle.adoption import original
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.member import Member


class Members:
    """Members in the order in which they were added. A replacement has the place of the former.

    To add one, and to find one, costs the same in a collection of ten as in one of a thousand.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Member] = {}
        self._by_identity: dict[int, Member] = {}
        self._by_class: defaultdict[type[Any], dict[Member, None]] = defaultdict(dict)
        self._place: dict[str, int] = {}
        self._places = 0
        self._next_number: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._by_name.values()))

    def __contains__(self, member: object) -> bool:
        return isinstance(member, Member) and self._by_name.get(member.name) is member

    # --- changing ------------------------------------------------------------------------------

    def put(self, member: Member) -> Member | None:
        """Add `member`, in the place of the one that has its name, which is returned."""
        former = self._by_name.get(member.name)
        if former is not None:
            self._forget(former)
        self._by_name[member.name] = member
        if former is None:
            self._place[member.name] = self._places = self._places + 1
        callback = original(member.callback)
        self._by_identity[id(callback)] = member
        for cls in type(callback).__mro__:
            self._by_class[cls][member] = None
        return former

    def take(self, member: Member) -> None:
        """Remove `member`; its name is free again."""
        del self._by_name[member.name]
        self._forget(member)
        if numbered := re.fullmatch(r"(.+)_(\d+)", member.name):
            base, number = numbered[1], int(numbered[2])
            self._next_number[base] = min(self._next_number.get(base, 2), number)

    def _forget(self, member: Member) -> None:
        callback = original(member.callback)
        del self._by_identity[id(callback)]
        for cls in type(callback).__mro__:
            del self._by_class[cls][member]

    # --- looking up ----------------------------------------------------------------------------

    def named(self, name: str) -> Member | None:
        """The member of that name."""
        return self._by_name.get(name)

    def holding(self, callback: object) -> Member | None:
        """The member whose callback this is: as it was given, or as it was adopted."""
        given = original(callback) if isinstance(callback, Callback) else callback
        member = self._by_identity.get(id(given))
        # Identity, not `in`: an equal callback is another one.
        return member if member and (callback is given or callback is member.callback) else None

    def has(self, kind: type[Any], without: Member | None = None) -> bool:
        """Whether any member but `without` is of the class `kind`."""
        return any(member is not without for member in self._instances(kind))

    def of_class(self, kind: type[Any]) -> list[Member]:
        """Members whose callbacks, or the foreign ones behind them, are instances of `kind`."""
        return sorted(self._instances(kind), key=lambda member: self._place[member.name])

    def _instances(self, kind: type[Any]) -> Iterable[Member]:
        if type(kind) is type:
            return self._by_class.get(kind, ())
        # Protocols and abstract classes decide by themselves what is an instance of them.
        return (one for one in self._by_name.values() if is_a(one.callback, kind))

    def matching(self, key: str | type[Any]) -> list[Member]:
        """Members that `key` names, or whose class it is; in the order in which they were added."""
        if not isinstance(key, str):
            return self.of_class(key)
        member = self.named(key)
        return [] if member is None else [member]

    def free_name(self, name: str) -> str:
        """`name`, or with the least number from 2 on that makes it unique."""
        if name not in self._by_name:
            return name
        number = self._next_number.get(name, 2)
        while f"{name}_{number}" in self._by_name:
            number += 1
        self._next_number[name] = number
        return f"{name}_{number}"


def is_a(callback: Callback[Any], kind: type[Any]) -> bool:
    """Whether `callback`, or the foreign one behind it, is of the class `kind`."""
    return isinstance(original(callback), kind)
