"""The order of callbacks: as added, unless `runs_after` or `runs_before` says otherwise."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from trackside.errors import OrderCycleError
from trackside.lifecycle.adoption import original
from trackside.lifecycle.dispatch import Member
from trackside.lifecycle.hooks import Callback


def is_a(callback: Callback[Any], kind: type[Any]) -> bool:
    """Whether `callback`, or the foreign one behind it, is of the class `kind`."""
    return isinstance(original(callback), kind)


def in_order(members: list[Member]) -> list[Member]:
    """As added, then `runs_after` and `runs_before`: a stable topological sort.

    Raises:
        OrderCycleError: Prints the cycle.
    """
    followers: dict[int, set[int]] = {index: set() for index in range(len(members))}
    for index, member in enumerate(members):
        for other in _matching(member.callback.runs_after, members, index):
            followers[other].add(index)
        for other in _matching(member.callback.runs_before, members, index):
            followers[index].add(other)
    waiting_for = [0] * len(members)
    for after in followers.values():
        for index in after:
            waiting_for[index] += 1
    ready = [index for index, count in enumerate(waiting_for) if count == 0]
    ordered = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(members[index])
        for after_index in followers[index]:
            waiting_for[after_index] -= 1
            if waiting_for[after_index] == 0:
                heapq.heappush(ready, after_index)
    if len(ordered) < len(members):
        raise OrderCycleError(
            "the order of the callbacks goes in a circle: " + _describe_cycle(members, followers),
            remedy="drop one of the `runs_after` or `runs_before` among them",
        )
    return ordered


def _matching(
    keys: Iterable[type[Callback[Any]] | str], members: list[Member], own: int
) -> Iterator[int]:
    for key in keys:
        for index, member in enumerate(members):
            if index != own and (
                member.name == key if isinstance(key, str) else is_a(member.callback, key)
            ):
                yield index


def _describe_cycle(members: list[Member], followers: dict[int, set[int]]) -> str:
    """`a -> b -> a`, of one cycle among `followers`."""
    path: list[int] = []
    done: set[int] = set()

    def walk(index: int) -> list[int] | None:
        if index in path:
            return [*path[path.index(index) :], index]
        if index in done:
            return None
        path.append(index)
        for after in sorted(followers[index]):
            if (cycle := walk(after)) is not None:
                return cycle
        done.add(path.pop())
        return None

    for start in range(len(members)):
        if (cycle := walk(start)) is not None:
            return " -> ".join(members[index].name for index in cycle)
    raise AssertionError("no cycle where the sort found one")
