"""From attach to close around a block: each attached callback is closed once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.by_hand.loops import parts
from trackside import Callback


class Noting(Callback[Any]):
    def __init__(self, notes: list[str], *, name: str, fails_in: str = "") -> None:
        self.name = name
        self._notes, self._fails_in = notes, fails_in

    def on_attach(self, run: Any) -> None:
        self._note("attach")

    def on_close(self, run: Any, outcome: Any) -> None:
        self._note("close")

    def _note(self, what: str) -> None:
        self._notes.append(f"{self.name} {what}")
        if self._fails_in == what:
            raise ValueError(self.name)


def test_callbacks_are_closed_in_reverse_order() -> None:
    notes: list[str] = []

    with parts().attach(Noting(notes, name="a"), Noting(notes, name="b")):
        pass

    assert notes == ["a attach", "b attach", "b close", "a close"]


def test_an_error_while_attaching_closes_those_before_it() -> None:
    notes: list[str] = []
    second = Noting(notes, name="b", fails_in="attach")

    with pytest.raises(ValueError, match="b"), parts().attach(Noting(notes, name="a"), second):
        notes.append("body")

    assert notes == ["a attach", "b attach", "b close", "a close"]


def test_an_error_while_closing_reaches_the_caller_when_all_are_closed() -> None:
    notes: list[str] = []
    second = Noting(notes, name="b", fails_in="close")

    with pytest.raises(ExceptionGroup), parts().attach(Noting(notes, name="a"), second):
        pass

    assert notes[-2:] == ["b close", "a close"]


def test_an_error_of_the_body_comes_before_those_of_closing() -> None:
    second = Noting([], name="b", fails_in="close")

    with pytest.raises(KeyError) as raised, parts().attach(second):
        raise KeyError("body")

    assert any("closing" in note for note in raised.value.__notes__)
