"""The base of trackers: what arrives, what a refusal costs, what a resumed run finds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.testing import ScriptedRun, script
from trackside.tracking.media import (
    Audio,
    File,
    Histogram,
    Media,
    Picture,
    Table,
    Text,
    Video,
)
from trackside.tracking.schedule_ledger import ScheduleLedger
from trackside.tracking.tracker import TrackedRun, Tracker


class Store(Tracker):
    """Keeps what it is told; refuses some names."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.calls: list[dict[str, Any]] = []
        self.parameters: dict[str, Any] = {}
        self.outcome = ""

    def open(self, beginning: TrackedRun) -> None:
        self.run_id = self.run_id or f"id of {beginning.name}"

    def write_parameters(self, parameters: Mapping[str, Any]) -> None:
        self._check(parameters)
        self.parameters |= parameters

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        self._check(values)
        self.calls.append(dict(values))

    def close(self, outcome: Outcome) -> None:
        self.outcome = outcome.status.value

    def _check(self, values: Mapping[str, Any]) -> None:
        for name in self.refused:
            if name in values:
                raise ValueError(f"{name} is reserved")

    @property
    def told(self) -> list[dict[str, Any]]:
        """Values of each record but the epoch."""
        return [{n: v for n, v in call.items() if n != "epoch"} for call in self.calls]


def test_metrics_arrive_and_the_end_comes_last() -> None:
    store = Store()
    script(store, [{"val/loss": 0.5}])

    assert {"val/loss": 0.5} in store.told
    assert store.outcome == "completed"


def test_a_metric_that_is_refused_costs_itself_only_and_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store("val/bad")
    with caplog.at_level(logging.WARNING):
        script(store, [{"val/bad": 1.0, "val/a": 2.0, "val/b": float(n)} for n in range(3)])

    arrived: dict[str, list[float]] = {}
    for call in store.calls:
        for name, value in call.items():
            arrived.setdefault(name, []).append(value)
    assert "val/bad" not in arrived
    assert arrived["val/b"] == [0.0, 1.0, 2.0]
    assert caplog.text.count("Store refuses the metric 'val/bad'") == 1


def test_after_a_refusal_the_other_metrics_go_together_again() -> None:
    store = Store("val/bad")
    script(store, [{"val/bad": 1.0, "val/a": 2.0, "val/b": 3.0} for _ in range(2)])

    assert store.calls[-1].keys() >= {"val/a", "val/b"}


def test_a_parameter_that_is_refused_costs_itself_only() -> None:
    store = Store("model/kind")
    run = ScriptedRun(store)
    run.config = {"model": {"kind": "CNN", "width": 8}, "seed": 0}

    run.play([])

    assert store.parameters == {"model/width": 8, "seed": 0}


@pytest.mark.parametrize(("at_once", "calls"), [(None, 1), (1, 4), (3, 2)])
def test_no_call_gets_more_metrics_than_the_tracker_takes(at_once: int | None, calls: int) -> None:
    store = Store()
    store.metrics_at_once = at_once
    script(store, [{"val/a": 1.0, "val/b": 2.0, "val/c": 3.0}])

    assert len([call for call in store.calls if call.keys() & {"val/a", "val/b", "val/c"}]) in (
        calls,
        calls - 1,  # the epoch may have a call of its own
    )


def test_a_resumed_run_finds_its_id_and_sends_no_parameters() -> None:
    store = Store()
    run = ScriptedRun(store)
    run.config = {"seed": 0}
    store.load_state_dict({"run_id": "abc"})
    store.on_fit_start(run)
    store.on_close(run, Outcome(Status.COMPLETED, "done"))

    assert store.state_dict() == {"run_id": "abc"}
    assert store.parameters == {}


def test_media_that_a_tracker_does_not_take_are_told_once_a_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def story(run: ScriptedRun) -> None:
        for name in ("a", "b"):
            run.emit(Media.on_text, name, Text("hello"))
            run.emit(Media.on_picture, name, Picture(np.zeros((1, 1, 3), np.uint8)))

    store = Store()
    with caplog.at_level(logging.WARNING):
        run = script(store, story)

    assert caplog.messages == [
        "Store takes no texts: 'a' is not sent there",
        "Store takes no pictures: 'a' is not sent there",
    ]
    assert run.callbacks.failures() == {}
    assert list(store.state_dict()) == ["run_id"]


def test_a_histogram_is_shown_under_the_step_of_now() -> None:
    shown: list[tuple[str, int]] = []

    class Shows(Store):
        def write_histogram(self, name: str, histogram: Histogram, step: int) -> None:
            shown.append((name, step))

    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_histogram, "w", Histogram(np.array([1]), np.array([0.0, 1.0])))

    script(Shows(), story)
    assert shown
    assert shown[0][0] == "w"


def test_a_rehearsal_is_told_to_nobody(tmp_path: Any) -> None:
    assert not Store().rehearse_in(tmp_path)


class Showing(Store):
    """Shows all media."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, tuple[Any, int]] = {}

    def write_text(self, name: str, text: Text, step: int) -> None:
        self.shown[name] = (text, step)

    def write_table(self, name: str, table: Table, step: int) -> None:
        self.shown[name] = (table, step)

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        self.shown[name] = (audio, step)

    def write_video(self, name: str, video: Video, step: int) -> None:
        self.shown[name] = (video, step)

    def write_file(self, name: str, file: File, step: int) -> None:
        self.shown[name] = (file, step)


MEDIA: dict[str, tuple[Any, Any]] = {
    "text": (Media.on_text, Text("hello")),
    "table": (Media.on_table, Table(("a",), ((1,),))),
    "sound": (Media.on_audio, Audio(np.zeros(4), rate=4)),
    "film": (Media.on_video, Video(np.zeros((1, 2, 2, 3), np.uint8))),
    "file": (Media.on_file, File(Path("model.safetensors"), "model")),
}


@pytest.mark.parametrize("kind", MEDIA)
def test_a_medium_is_shown_under_the_step_of_now(kind: str) -> None:
    event, medium = MEDIA[kind]

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.tell_step()
        run.emit(event, f"my/{kind}", medium)

    showing = Showing()
    script(showing, story)

    assert showing.shown == {f"my/{kind}": (medium, 2)}


class ResumedAt(Callback):
    """Loads the state that a checkpoint of a step would have held."""

    def __init__(self, tracker: Tracker, step: int, state: dict[str, Any]) -> None:
        self.tracker, self.step, self.state = tracker, step, state

    def on_setup_start(self, run: Run) -> None:
        run.progress.steps_completed = self.step
        self.tracker.load_state_dict(self.state)


class Remembering(Store):
    """Knows what it got before: all of step 6."""

    def was_sent(self, name: str, step: int) -> bool:
        return step == 6


@pytest.mark.parametrize(("step", "sent"), [(2, 0), (0, 1)], ids=["resumed", "from the start"])
def test_a_value_that_was_sent_before_a_kill_is_not_sent_again(step: int, sent: int) -> None:
    store = Remembering()

    def story(run: ScriptedRun) -> None:
        run.progress.steps_completed = 6
        run.record({"a": 1.0})
        run.progress.steps_completed = 7
        run.record({"a": 2.0})

    script([store, ResumedAt(store, step, {"run_id": "mine"})], story)

    assert store.told.count({"a": 1.0}) == sent
    assert store.told.count({"a": 2.0}) == 1


class Finding(Store):
    """Finds the run by itself, as by a tag."""

    def open(self, beginning: TrackedRun) -> None:
        self.run_id, self.goes_on = f"found {beginning.id}", True


def test_a_run_that_the_tracker_finds_gets_its_parameters_once() -> None:
    store = Finding()
    run = ScriptedRun(store)
    run.config = {"seed": 7}
    run.play([{}])

    assert store.run_id == f"found {run.id}"
    assert store.parameters == {}


class Hangs(Store):
    """Takes nothing any more from the second record on: as a network that is gone."""

    flush_seconds = 0.0

    def __init__(self, gone: bool = True) -> None:
        super().__init__()
        self.gone, self.texts = gone, list[str]()
        self.stuck, self.let_go = threading.Event(), threading.Event()

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        if self.gone and record.step > 1:
            self.stuck.set()
            self.let_go.wait()
            raise SystemExit  # the thread ends, as in a kill
        super().write_metrics(values, record, unix_time)

    def write_text(self, name: str, text: Text, step: int) -> None:
        self.texts.append(text.text)


class Kept(Callback[Run]):
    """Keeps the states of a tracker and of the records at the end, as a checkpoint does."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_fit_end(self, run: Run) -> None:
        self.state, self.history, self.id = (
            self.tracker.state_dict(),
            run.history.state_dict(),
            run.id,
        )


class GoesOn(Callback[Run]):
    """Stands where `Kept` kept it."""

    def __init__(self, kept: Kept, tracker: Tracker) -> None:
        self.kept, self.tracker = kept, tracker

    def on_attach(self, run: Run) -> None:
        run.id = self.kept.id

    def on_setup_start(self, run: Run) -> None:
        run.history.load_state_dict(self.kept.history)
        run.progress.steps_completed = 3
        self.tracker.load_state_dict(self.kept.state)


def killed(hangs: Hangs) -> Kept:
    kept = Kept(hangs)

    def story(run: ScriptedRun) -> None:
        for step in (1, 2, 3):
            run.progress.steps_completed = step
            run.record({"a": float(step)})
        hangs.stuck.wait()  # the first was taken
        run.emit(Media.on_text, "notes", Text("three"))

    try:
        script([hangs, kept], story)
    finally:
        hangs.let_go.set()
        for thread in threading.enumerate():
            if thread.name.startswith("delivery to"):
                thread.join()  # its end belongs to this test
    return kept


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_killed_run_had_not_sent_comes_after_its_resume_and_nothing_twice() -> None:
    first = Hangs()
    kept = killed(first)
    second = Hangs(gone=False)
    second.flush_seconds = 30.0

    script([second, GoesOn(kept, second)], lambda run: None)

    sent = [call["a"] for call in first.calls + second.calls if "a" in call]
    assert sent == [1.0, 2.0, 3.0]
    assert second.texts == ["three"]


class Rewound(Store):
    """Notes to which step it is rewound."""

    def __init__(self) -> None:
        super().__init__()
        self.rewound: list[int] = []

    def rewind(self, step: int) -> None:
        self.rewound.append(step)


@pytest.mark.parametrize("taken_back", [True, False])
def test_steps_that_a_run_takes_again_are_sent_again_only_where_it_was_taken_back(
    taken_back: bool,
) -> None:
    first, second = Rewound(), Rewound()
    kept = Kept(first)

    def before(run: ScriptedRun) -> None:
        kept.on_fit_end(run)  # a checkpoint of step 3
        story(run)

    def story(run: ScriptedRun) -> None:
        run.progress.steps_completed = 5
        run.record({"a": 5.0})

    script(first, before)

    class Back(GoesOn):
        def on_setup_start(self, run: Run) -> None:
            super().on_setup_start(run)
            run.taken_back = taken_back

    script([second, Back(kept, second)], story)

    assert second.rewound == ([3] if taken_back else [])
    assert second.told.count({"a": 5.0}) == taken_back


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tracker_that_joins_a_resumed_run_gets_no_records_of_before() -> None:
    kept = killed(Hangs())

    class Late(Store):
        pass

    late = Late()
    script([late, GoesOn(kept, late)], lambda run: None)

    assert not [call for call in late.calls if "a" in call]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_medium_that_no_checkpoint_held_is_named(caplog: pytest.LogCaptureFixture) -> None:
    kept = killed(Hangs())
    kept.state = {"run_id": kept.state["run_id"]}
    second = Hangs(gone=False)
    second.flush_seconds = 30.0

    with caplog.at_level(logging.WARNING):
        script([second, GoesOn(kept, second)], lambda run: None)

    assert "was not given, before a kill: text notes of step 3" in caplog.text


def test_records_that_a_checkpoint_holds_are_settled_when_it_is_whole(tmp_path: Path) -> None:
    store = Store()

    def story(run: ScriptedRun) -> None:
        for step in range(1, 5):
            run.progress.steps_completed = step
            run.record({"a": float(step)})
        run.emit(Callback.on_checkpoint_saved, tmp_path / "step-0000000004")
        assert store._queue is not None
        assert store._queue.flush(30)

    run = script(store, story)

    ledger = ScheduleLedger(run.directory, run.id, "store")
    assert [ledger.is_done("record of any name", step) for step in (3, 4)] == [True, False]


def test_nothing_is_settled_where_records_were_dropped(tmp_path: Path) -> None:
    store = Store()

    def story(run: ScriptedRun) -> None:
        assert store._queue is not None
        store._queue.dropped = 1
        run.emit(Callback.on_checkpoint_saved, tmp_path / "step-0000000004")
        assert store._queue.flush(30)
        store._queue.dropped = 0

    run = script(store, story)

    assert not ScheduleLedger(run.directory, run.id, "store").is_done("record a", 3)
