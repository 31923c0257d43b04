"""R7: SIGINT and SIGTERM save at that step and end with 130 and 143; the run goes on bitwise."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.faults.lives import Life, check
from tests.faults.programs.control_run import ControlOptions
from tests.faults.programs.long_run import Options
from trackside.checkpoint import newest_valid

# Saved every 4 steps only, so that what the signal saved can be told from what was due.
TRAINING = Options("", workers=0, save_every="4 steps")
PLACES: dict[str, tuple[str, int]] = {
    "in a step": ("batch", 19),
    "between steps": ("step", 14),
    "in an evaluation": ("evaluating", 12),
    "in a save": ("saving", 8),
}
ORDERS: dict[str, list[signal.Signals]] = {
    "SIGINT": [signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
    "SIGHUP": [signal.SIGHUP],
    "SIGTERM twice": [signal.SIGTERM, signal.SIGTERM],
    "SIGINT and SIGTERM": [signal.SIGINT, signal.SIGTERM],
    "SIGTERM and SIGINT": [signal.SIGTERM, signal.SIGINT],
}
IMPATIENT = ("SIGTERM and SIGINT",)
"""Which end at once, or after the step: of two that wait, Python handles the lower first."""
QUICK = {
    ("in a step", "SIGTERM"),
    ("in an evaluation", "SIGINT"),
    ("in a save", "SIGTERM and SIGINT"),
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(dataclasses.replace(TRAINING, directory=str(tmp_path_factory.mktemp("unbroken"))))


@pytest.mark.parametrize(
    ("place", "order"),
    [
        pytest.param(place, order, marks=() if (place, order) in QUICK else pytest.mark.slow)
        for place in PLACES
        for order in ORDERS
    ],
)
def test_signalled_it_closes_saves_and_goes_on_bitwise(
    tmp_path: Path, unbroken: Life, place: str, order: str, figure: Figure
) -> None:
    signals = ORDERS[order]
    figure("R7", f"{order}, {place}: closed, exit code, bitwise after")
    options = dataclasses.replace(TRAINING, directory=str(tmp_path))

    first = Life(options, send=signals, at=PLACES[place])

    assert first.signalled
    [[status, step, code]] = first.closed
    assert status == "interrupted"
    assert code in [128 + number for number in signals]
    # A signal that comes when the run is over ends the process as it ends any other.
    assert first.exit_code in [code, *(end for n in signals for end in (128 + n, -n))]
    once = order not in IMPATIENT
    if once:  # an impatient one, the second ends at once: what was due before is what there is
        selection = newest_valid(tmp_path / "checkpoints")
        assert selection is not None
        assert selection.checkpoint.manifest.step == step == first.steps[-1]
    check([first, Life(options)], unbroken, may_lose=0 if once else 2 * 4)


WITH_WORKERS = Options("", workers=2, save_every="4 steps")
AGAIN = [pytest.param(time, marks=() if time == 0 else pytest.mark.slow) for time in range(20)]


@pytest.fixture(scope="module")
def unbroken_with_workers(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = str(tmp_path_factory.mktemp("unbroken"))
    return Life(dataclasses.replace(WITH_WORKERS, directory=folder))


@pytest.mark.parametrize("order", ["SIGINT", "SIGTERM", "SIGHUP", "SIGTERM twice"])
@pytest.mark.parametrize("time", AGAIN)
def test_signalled_with_its_workers_it_closes_saves_and_goes_on_bitwise(
    tmp_path: Path, unbroken_with_workers: Life, order: str, time: int, figure: Figure
) -> None:
    figure("R7", f"{order} to the process group, 2 workers: closed, exit code, bitwise after")
    places = list(PLACES.values())
    options = dataclasses.replace(WITH_WORKERS, directory=str(tmp_path))

    first = Life(options, send=ORDERS[order], at=places[time % len(places)], to_group=True)

    code = 128 + ORDERS[order][0]
    # The second of two may come when the run is over, and ends the process as it ends any other.
    assert first.exit_code in [code, *(-number for number in ORDERS[order][1:])]
    [[status, step, told]] = first.closed
    assert (status, told) == ("interrupted", code)
    selection = newest_valid(tmp_path / "checkpoints")
    assert selection is not None
    assert selection.checkpoint.manifest.step == step == first.steps[-1]
    check([first, Life(options)], unbroken_with_workers, may_lose=0)


def test_a_loop_written_by_hand_passes(tmp_path: Path, figure: Figure) -> None:
    figure("R7", "control: a loop written by hand")
    unbroken = Life(ControlOptions(str(tmp_path / "unbroken")))
    options = ControlOptions(str(tmp_path / "interrupted"))

    first = Life(options, send=[signal.SIGTERM], at=("batch", 19))

    assert first.exit_code == 143
    assert first.steps[-1] == 10
    check([first, Life(options)], unbroken, may_lose=0)
