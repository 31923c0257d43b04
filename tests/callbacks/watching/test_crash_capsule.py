"""`CrashCapsule`: when it comes, and which calls it has; its files are in `tests/proof`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recorded_graphs import RecordedGraphs
from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import CrashCapsule, Watchdog
from trackside.callbacks.watching.event_ring import EventRing
from trackside.errors import ConfigurationError
from trackside.lifecycle.member import Member
from trackside.step import capturing, compiling
from trackside.testing import SpyCallback, tiny_classification


def fit(folder: Path, *callbacks: Callback[Any], **settings: Any) -> Any:
    task = tiny_classification()
    trainer = Trainer(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=callbacks,
        defaults=False,
        settings=Settings(directory=folder, device="cpu", **settings),
    )
    return trainer.fit(task.train, steps=3)


def content(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "capsule.json").read_text())
    return found


def test_a_signal_leaves_none(tmp_path: Path) -> None:
    capsule = CrashCapsule()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, SpyCallback("on_batch_end", KeyboardInterrupt, counts=()), capsule)

    assert capsule.written == []


def test_the_watchdog_tells_the_capsule(tmp_path: Path) -> None:
    capsule, watchdog = CrashCapsule(), Watchdog(timeout_seconds=60)
    alarm = SpyCallback("on_step_end", lambda run: watchdog._report(run, 61.0), when=2, counts=())
    fit(tmp_path, watchdog, capsule, alarm)

    assert content(capsule.written[0])["said"].startswith("nothing has moved for 61 s")


def test_alarms_leave_a_place_for_the_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capsule = CrashCapsule()

    def alarms(run: Run) -> None:
        for _ in range(11):
            capsule.alarm(run, "it stands")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fit(tmp_path, SpyCallback("on_step_end", alarms, counts=()), capsule)

    assert [content(one)["reason"] for one in capsule.written] == ["watchdog"] * 9 + ["error"]
    assert caplog.text.count("no further crash capsule (watchdog): there are 9") == 1


def test_another_guard_still_looks_on(tmp_path: Path) -> None:
    class Draws(Callback):
        effect = "observes"

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            run.model.eval()

    capsule = CrashCapsule()
    with pytest.raises(Exception, match="changed the modes of model"):
        fit(tmp_path, Draws(), capsule, guard="observers")

    last = content(capsule.written[0])["events"][-1]
    assert (last["callback"], last["hook"]) == ("draws", "on_batch_end")


def test_a_ring_keeps_the_last_calls_in_order_and_not_its_own() -> None:
    spy = SpyCallback()
    ring = EventRing(3, None, "capsule")
    call = ring(Member("spy", spy), "on_step_end", lambda run: None)
    own = ring(Member("capsule", spy), "on_stop", lambda run: None)
    for _ in range(5):
        call(None)
        own(None)

    last = ring.last()
    assert [one["callback"] for one in last] == ["spy"] * 3
    assert last[0]["seconds_ago"] >= last[-1]["seconds_ago"] >= 0


def test_a_limit_that_holds_no_capsule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limit_megabytes"):
        CrashCapsule(limit_megabytes=1)


@pytest.mark.not_standin("torch.compile")
@pytest.mark.parametrize("step", ["eager", "compiled", "captured"])
def test_a_step_under_way_is_known_however_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Fails(Callback[Run]):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            if run.progress.steps_completed == 1:
                raise ValueError("broken")

    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setitem(capturing.GRAPHS, "cpu", RecordedGraphs)
    task = tiny_classification()
    trainer = Trainer(
        task.model,
        loss=task.loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, fused=True),
        callbacks=[CrashCapsule(), Fails()],
        defaults=False,
        settings=Settings(directory=tmp_path, device="cpu", step=step),  # type: ignore[arg-type]
    )
    with pytest.raises(ValueError, match="broken"):
        trainer.fit(task.train, steps=3)

    [file] = tmp_path.glob("capsules/*/capsule.json")
    found = json.loads(file.read_text())
    assert (found["step"], found["within_the_step"]) == (2, True)
