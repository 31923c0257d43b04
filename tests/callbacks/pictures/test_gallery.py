"""Pictures are drawn by a thread, written whole, and shown under the step that they belong to."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.pictures.scenes import Tracker
from trackside import Callback
from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.plot_history import PlotHistory
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import ScriptedRun


class Draws(PictureCallback):
    """A line after each step."""

    def __init__(self, draw: Any = None) -> None:
        super().__init__("1 step")
        self.draw = draw or (lambda figure: figure.subplots().plot([1, 2]))
        self.threads: set[str] = set()

    def on_due(self, run: Run) -> None:
        def draw(figure: Any) -> None:
            self.threads.add(threading.current_thread().name)
            self.draw(figure)

        self.gallery.show(run, "val/line", draw, (3.0, 2.0), caption="a line")


def play(folder: Path, *callbacks: Callback, steps: int = 2) -> ScriptedRun:
    def story(run: ScriptedRun) -> None:
        for _ in range(steps):
            run.tell_step()

    run = ScriptedRun(callbacks, directory=folder)
    run.play(story)
    return run


def test_every_tracker_gets_pixels_file_caption_and_the_step_that_is_shown(tmp_path: Path) -> None:
    from matplotlib.image import imread

    tracker = Tracker()
    play(tmp_path, tracker, Draws())

    assert tracker.names == ["val/line"] * 2
    for step, (_, picture) in enumerate(tracker.shown, 1):
        assert picture.step == step
        assert picture.path == tmp_path / f"pictures/val/line/step-{step:010d}.png"
        assert picture.pixels.shape == (200, 300, 3)
        assert (imread(picture.path)[..., :3] * 255).round().astype(int).tolist() == (
            picture.pixels.tolist()
        )
        assert picture.caption == "a line"


def test_a_thread_draws_and_ends(tmp_path: Path) -> None:
    draws = Draws()
    play(tmp_path, draws)

    assert draws.threads == {"delivery to the pictures of Draws"}
    assert not draws.threads & {thread.name for thread in threading.enumerate()}


def test_the_loop_does_not_wait_for_a_drawing(tmp_path: Path) -> None:
    may_draw, draws = threading.Event(), Draws(lambda figure: may_draw.wait())

    class Later(Callback):
        """The first picture is drawn only after the last step: who waits, waits for ever."""

        def on_fit_end(self, run: Run) -> None:
            may_draw.set()

    tracker = Tracker()
    play(tmp_path, tracker, Later(), draws, steps=3)

    assert len(tracker.shown) == 3


def test_of_a_file_that_is_replaced_only_the_newest_waits(tmp_path: Path) -> None:
    drawing, may_draw = threading.Event(), threading.Event()

    class Replaces(PictureCallback):
        def on_due(self, run: Run) -> None:
            def draw(figure: Any) -> None:
                drawing.set()
                may_draw.wait()

            self.gallery.show(run, "curves", draw, (1.0, 1.0), file="curves.png")
            drawing.wait()  # the first one is begun; the others queue up behind it

        def on_fit_end(self, run: Run) -> None:
            may_draw.set()
            super().on_fit_end(run)

    tracker = Tracker()
    play(tmp_path, tracker, Replaces("1 step"), steps=4)

    assert [picture.step for _, picture in tracker.shown] == [1, 4]


def test_a_drawing_that_fails_is_a_warning_and_the_others_are_drawn(tmp_path: Path) -> None:
    drawn = []

    def draw(figure: Any) -> None:
        drawn.append(1)
        if len(drawn) == 1:
            raise ValueError("no ink")

    tracker = Tracker()
    run = play(tmp_path, tracker, Draws(draw), steps=3)

    assert run.progress.steps_completed == 3
    assert run.callbacks.failures()["draws"] == 1
    assert [picture.step for _, picture in tracker.shown] == [2, 3]


def test_what_is_drawn_when_a_run_fails_still_reaches_the_trackers(tmp_path: Path) -> None:
    tracker = Tracker()

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise RuntimeError("of the model")

    with pytest.raises(RuntimeError, match="of the model"):
        ScriptedRun([Draws(), tracker], directory=tmp_path).play(story)

    assert [picture.step for _, picture in tracker.shown] == [1]


def test_nothing_is_drawn_but_on_rank_0(tmp_path: Path) -> None:
    draws, run = Draws(), Run("fit", tmp_path)
    other: Any = type("World", (), {"is_global_zero": False})()
    run.world = other
    draws.on_due(run)

    draws.gallery.close(run)
    assert list(tmp_path.iterdir()) == []


def test_no_figure_is_left_in_the_program(tmp_path: Path) -> None:
    play(tmp_path, Draws())

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_missing_matplotlib_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[pictures\]'"):
        PlotHistory()


def test_a_checkpoint_waits_for_a_picture_and_holds_it_until_a_tracker_has_it(
    tmp_path: Path,
) -> None:
    states: list[dict[str, Any]] = []

    class Saves(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            states.append(run.callbacks["draws"].state_dict())

    play(tmp_path, Draws(), Saves(), steps=1)
    later, tracker = Draws(), Tracker()

    class Resumes(Callback[Run]):
        def on_setup_start(self, run: Run) -> None:
            later.load_state_dict(states[0])

    play(tmp_path, later, tracker, Resumes(), steps=0)

    ((name, picture),) = tracker.shown
    assert (name, picture.step, picture.caption) == ("val/line", 1, "a line")
    assert picture.path == tmp_path / "pictures/val/line/step-0000000001.png"


def test_the_ledger_says_that_a_picture_was_due_begun_and_done(tmp_path: Path) -> None:
    play(tmp_path, Draws(), steps=1)

    lines = map(json.loads, (tmp_path / "schedule.jsonl").read_text().splitlines())
    assert [(one["what"], one["step"], one["state"]) for one in lines] == [
        ("val/line", 1, "due"),
        ("val/line", 1, "begun"),
        ("val/line", 1, "done"),
    ]


def test_a_picture_whose_writing_was_killed_is_written_again(tmp_path: Path) -> None:
    left = tmp_path / "pictures/val/line/.tmp-step-0000000001.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a part")

    play(tmp_path, Draws(), steps=1)

    assert [path.name for path in left.parent.iterdir()] == ["step-0000000001.png"]
