"""The order of callbacks: as added, unless `runs_after` or `runs_before` says otherwise."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal, TypeAlias

from trackside.errors import OrderCycleError
from trackside.lifecycle.member import Member
from trackside.lifecycle.members import Members

Key: TypeAlias = "type[Any] | str"
"""Reference to another callback in `runs_before` and `runs_after`: a class, or a name."""
Side: TypeAlias = Literal["after", "before"]


def in_order(members: Members) -> list[Member]:
    """As added, then `runs_after` and `runs_before`: a stable topological sort.

    Raises:
        OrderCycleError: Prints the cycle.
    """
    graph = _Graph(members)
    ready = [node for node in graph.nodes if not graph.waiting_for[node]]
    heapq.heapify(ready)
    ordered = []
    while ready:
        node = heapq.heappop(ready)
        if node >= 0:
            ordered.append(graph.members[node])
        for after in graph.followers[node]:
            graph.waiting_for[after] -= 1
            if graph.waiting_for[after] == 0:
                heapq.heappush(ready, after)
    if len(ordered) < len(members):
        raise OrderCycleError(
            "the order of the callbacks goes in a circle: " + " -> ".join(graph.cycle()),
            remedy="drop one of the `runs_after` or `runs_before` among them",
        )
    return ordered


class _Graph:
    """Graph of the callbacks: which one comes before which.

    Members are nodes from 0 on, in the order in which they were added. Below 0 are places without
    a member: all that match a key come before one of them, and after another. Thus a thousand
    callbacks that run after a thousand others take two thousand edges.
    """

    def __init__(self, members: Members) -> None:
        self.members = list(members)
        self.followers: defaultdict[int, set[int]] = defaultdict(set)
        self.waiting_for: defaultdict[int, int] = defaultdict(int)
        self._node_of = {member: node for node, member in enumerate(self.members)}
        self._matching: dict[Key, set[int]] = {}
        self._places: dict[tuple[Key, Side], int] = {}
        for node, member in enumerate(self.members):
            self._declare(node, member.callback.runs_after, "after", members)
            self._declare(node, member.callback.runs_before, "before", members)
        self.nodes = range(-len(self._places), len(self.members))
        for after in chain.from_iterable(self.followers.values()):
            self.waiting_for[after] += 1

    def _declare(self, node: int, keys: Iterable[Key], side: Side, members: Members) -> None:
        for key in keys:
            if key not in self._matching:
                self._matching[key] = {self._node_of[one] for one in members.matching(key)}
            matching = self._matching[key]
            if node in matching:  # it comes after the others of its kind, not after itself
                for other in matching - {node}:
                    if not self._insists(other, node, key, side, members):
                        self._edge(node, other, side)
            elif matching:
                self._edge(node, self._place(key, side, matching), side)

    def _insists(self, other: int, node: int, key: Key, side: Side, members: Members) -> bool:
        """Whether another that comes before (or after) all names this one: then it is first."""
        callback = self.members[other].callback
        keys = callback.runs_after if side == "after" else callback.runs_before
        if key not in keys:
            return False
        return any(self.members[node] in members.matching(one) for one in keys if one != key)

    def _place(self, key: Key, side: Side, matching: set[int]) -> int:
        place = self._places.get((key, side))
        if place is None:
            place = self._places[key, side] = -1 - len(self._places)
            for other in matching:
                self._edge(place, other, side)
        return place

    def _edge(self, node: int, other: int, side: Side) -> None:
        first, then = (other, node) if side == "after" else (node, other)
        self.followers[first].add(then)

    def cycle(self) -> list[str]:
        """Names along a circle, the first one also at the end; once the sort is stuck."""
        blocked_by = {
            then: node for node in self.nodes for then in self.followers[node] if self._stuck(node)
        }
        node = next(node for node in self.nodes if self._stuck(node))
        path: dict[int, None] = {}
        while node not in path:
            path[node] = None
            node = blocked_by[node]
        walked = list(path)
        circle = [one for one in reversed(walked[walked.index(node) :]) if one >= 0]
        start = circle.index(min(circle))
        names = [self.members[one].name for one in (*circle[start:], *circle[:start])]
        return [*names, names[0]]

    def _stuck(self, node: int) -> bool:
        return self.waiting_for[node] > 0
