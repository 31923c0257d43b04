"""Crash capsules: one for each way to crash, no larger than said, replayed to the same error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.proof.crashes import KINDS, crashing
from trackside.callbacks import Watchdog
from trackside.cli.main import run as command
from trackside.errors import UsageError
from trackside.proof.capsules import capsule_way, is_capsule, read_capsule, replay_capsule
from trackside.testing import SpyCallback


def crash(folder: Path, how: str, **options: Any) -> Path:
    """Crash a run; the folder of its capsule."""
    made = crashing(str(folder), how, **options)
    try:
        made.fit()
    except Exception:
        pass
    found = [*(folder / "capsules").iterdir()]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("how", KINDS)
def test_a_crash_of_each_kind_leaves_a_capsule_that_replays_to_it(tmp_path: Path, how: str) -> None:
    place = crash(tmp_path / "run", how)
    capsule = read_capsule(place)

    found = replay_capsule(capsule, *capsule_way(capsule))

    assert found.same, found.as_dict()
    assert found.same_batch is (True if capsule.content["within_the_step"] else None)
    size = sum(file.stat().st_size for file in place.iterdir())
    assert size <= capsule.content["limit_bytes"]


def test_the_capsule_of_an_alarm_replays_to_the_end_of_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, watchdog = crashing(str(tmp_path / "run"), "step", at=999), Watchdog(timeout_seconds=600)
    alarm = SpyCallback(
        "on_batch_end", lambda run, *_: watchdog._report(run, 601), when=9, counts=()
    )
    made.trainer.callbacks.append(watchdog)
    made.trainer.callbacks.append(alarm)
    made.fit()
    (place,) = (tmp_path / "run" / "capsules").iterdir()

    assert command(["replay", str(place), "--yes"]) == 0
    assert "an alarm has no error to compare; the step comes to its end" in capsys.readouterr().out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crash(tmp_path_factory.mktemp("crashed") / "run", "step")


def content(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "capsule.json").read_text())
    return found


def test_a_capsule_has_the_error_the_position_and_what_was_called_last(place: Path) -> None:
    found = content(place)
    assert found["error"]["type"] == "tests.proof.crashes.Broken"
    assert (found["step"], found["within_the_step"]) == (10, True)
    assert found["progress"]["steps_completed"] == 9
    last = [(one["callback"], one["hook"]) for one in found["events"]]
    assert len(last) <= 100
    assert ("listener", "on_step_end") in last
    assert {"python", "torch", "trackside"} <= set(found["versions"])
    assert found["memory"]["process_peak_bytes"] > 0


def test_the_stacks_of_all_threads_and_the_traceback_are_in_it(place: Path) -> None:
    text = (place / "stacks.txt").read_text()
    assert "tests.proof.crashes.Broken: loss " in text
    assert "thread MainThread" in text


def test_the_batch_and_the_generators_are_tensors_and_json(place: Path) -> None:
    tensors = load_file(place / "tensors.safetensors")
    assert tensors["random/random.torch"].dtype == torch.uint8
    inputs, target = read_capsule(place).batch()
    assert (inputs.shape, target.dtype) == ((8, 4), torch.int64)
    assert {file.suffix for file in place.iterdir()} == {".json", ".txt", ".safetensors"}


def test_data_can_be_left_out(tmp_path: Path) -> None:
    place = crash(tmp_path / "run", "step", data=False)
    assert content(place)["missing"] == {"batch": "left out: data=False"}
    assert not any("batch" in name for name in load_file(place / "tensors.safetensors"))
    assert read_capsule(place).batch() is None


def test_a_batch_that_does_not_fit_is_left_out_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackside.callbacks.watching.capsule_files.RESERVED_BYTES", 4_999_900)
    place = crash(tmp_path / "run", "step")
    assert content(place)["missing"]["batch"].startswith("left out: ")


def test_what_can_not_be_had_after_a_crash_is_named_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(device: Any) -> Any:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr("trackside.callbacks.watching.capsule_files._memory", lost)
    place = crash(tmp_path / "run", "shapes")
    assert content(place)["missing"] == {"memory": "RuntimeError: the device is lost"}
    assert content(place)["error"]["type"] == "builtins.RuntimeError"


def test_a_run_that_ends_in_order_leaves_none(tmp_path: Path) -> None:
    crashing(str(tmp_path / "run"), "nothing").fit()
    assert not (tmp_path / "run" / "capsules").exists()


def test_the_command_replays_it_and_says_that_it_ends_the_same_way(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["replay", str(place)]) == 0
    text = capsys.readouterr().out
    assert "3 steps trained from step-0000000007" in text
    assert "batch: bitwise that of the capsule" in text
    assert "verdict: it ends the same way" in text


def test_another_error_is_not_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "capsule.json"
    before = file.read_text()
    file.write_text(before.replace("tests.proof.crashes.Broken", "builtins.ValueError"))
    try:
        assert command(["replay", str(place)]) == 1
    finally:
        file.write_text(before)
    assert "verdict: it ends otherwise" in capsys.readouterr().out


def test_a_folder_without_a_capsule_and_one_outside_of_its_run_are_refused(
    place: Path, tmp_path: Path
) -> None:
    assert is_capsule(place)
    with pytest.raises(UsageError, match="holds no crash capsule"):
        read_capsule(tmp_path)
    (tmp_path / "capsule.json").write_text((place / "capsule.json").read_text())
    with pytest.raises(UsageError, match="lies in no run's folder"):
        read_capsule(tmp_path)


def test_another_step_than_that_of_the_capsule_is_refused(place: Path) -> None:
    assert command(["replay", str(place), "--step", "3"]) == 2


def test_a_crash_before_the_first_step_is_replayed_from_the_start(tmp_path: Path) -> None:
    capsule = read_capsule(crash(tmp_path / "run", "on_epoch_start", at=0))
    assert capsule.step == 0

    made, way = capsule_way(capsule)

    assert way.begins_after == 0
    assert replay_capsule(capsule, made, way).same
