from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import pytest

from trackside import Settings
from trackside.callbacks.watching import garbage_collection
from trackside.callbacks.watching.garbage_collection import GarbageCollection
from trackside.errors import ScheduleError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, script, tiny_regression


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """Generations that were collected."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.append(info["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


class Look(Callback):
    def __init__(self, collections: list[int]) -> None:
        self.collections = collections

    def on_fit_start(self, run: Run) -> None:
        self.collections.clear()
        self.automatic = gc.isenabled()


def test_collections_come_on_schedule_and_at_no_other_time(collections: list[int]) -> None:
    look = Look(collections)

    def story(run: ScriptedRun) -> None:
        for _ in range(5):
            run.tell_step()
        assert collections == [1, 1]

    run = script([GarbageCollection("2 steps"), look], story)

    assert not look.automatic
    assert len(run.history.values("gc/seconds")) == 2


@pytest.mark.parametrize("error", [None, ValueError("x")])
def test_at_the_end_python_is_as_before(error: Exception | None) -> None:
    frozen = gc.get_freeze_count()

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        if error is not None:
            raise error

    with contextlib.suppress(ValueError):
        script(GarbageCollection(), story)

    assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen


def test_a_setting_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        script(GarbageCollection(), [{}])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_clock_is_refused_because_ranks_would_disagree() -> None:
    with pytest.raises(ScheduleError, match="by the clock"):
        GarbageCollection("1 minute")


@pytest.mark.parametrize(("asked", "times"), [(True, 2), (False, 0)])
def test_the_cache_is_emptied_when_garbage_is_collected_if_asked(
    asked: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []
    monkeypatch.setattr(garbage_collection, "empty_cache", lambda d: devices.append(d.type))
    task = tiny_regression()
    callback = GarbageCollection("1 step", device_cache=asked)
    settings = Settings(device="cpu", directory="run")
    task.trainer(callbacks=[callback], settings=settings).fit(task.train, steps=2)

    assert len(devices) == times
