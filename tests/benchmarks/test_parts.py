"""Parts of a run have the time of their functions, without that of parts inside."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from benchmarks import parts
from benchmarks.parts import Parts


class Work:
    clock = 0.0

    def outer(self) -> None:
        Work.clock += 1
        self.inner()
        Work.clock += 2

    def inner(self) -> None:
        Work.clock += 4


class Inherits(Work):
    pass


def test_the_time_of_a_part_is_without_that_of_parts_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "perf_counter", lambda: Work.clock)
    here = f"{__name__}.Work"
    watching = Parts({"outside": [f"{here}.outer"], "inside": [f"{here}.inner"], "never": []})
    with watching.watched("the rest"):
        Work.clock += 8
        Work().outer()
    assert watching.seconds == {"outside": 3.0, "inside": 4.0, "never": 0.0, "the rest": 8.0}


def test_what_a_thread_does_is_inside_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "perf_counter", lambda: Work.clock)
    watching = Parts({"beside": [f"{__name__}.Work.inner"]})
    with watching.watched("the rest"):
        thread = threading.Thread(target=Work().inner)
        thread.start()
        thread.join()
    assert watching.seconds == {"beside": 4.0, "the rest": 4.0}


@pytest.mark.parametrize("kind", [Work, Inherits])
def test_functions_are_what_they_were_when_it_is_over(kind: type[Work]) -> None:
    before = SimpleNamespace(**vars(kind))
    with (
        pytest.raises(ZeroDivisionError),
        Parts({"x": [f"{__name__}.{kind.__name__}.inner"]}).watched("all"),
    ):
        assert vars(kind).get("inner") is not before.__dict__.get("inner")
        raise ZeroDivisionError
    assert vars(kind).get("inner") is before.__dict__.get("inner")
