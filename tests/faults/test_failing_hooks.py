"""R23: an error in each hook: the others get the event, and the run is saved where it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.loop.test_failing_callbacks import IN_A_STEP, RARE, ends_in, fit, made
from trackside.lifecycle.failures import BEGINNINGS, WHOLE
from trackside.testing import Recorder, SpyCallback

pytestmark = pytest.mark.slow

TIMES = {"on_fit_end": (1,)}
"""Hooks that a run doesn't fire three times."""
HOOKS = sorted((WHOLE | BEGINNINGS) - RARE)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = made(tmp_path_factory.mktemp("unbroken") / "run")
    return ends_in(trainer, fit(trainer))


def fails(folder: Path, hook: str, when: int) -> bool:
    """Train with an error in a hook; whether a later callback heard that event."""
    last = Recorder()
    with pytest.raises(ValueError):
        fit(made(folder, SpyCallback(hook, ValueError, when=when, counts=()), last))
    return last.names.count(hook) >= when


@pytest.mark.parametrize(
    ("hook", "when"), [(hook, when) for hook in HOOKS for when in TIMES.get(hook, (1, 2, 3))]
)
def test_where_the_state_is_whole_the_others_hear_it_and_a_resume_is_bitwise(
    tmp_path: Path, unbroken: dict[str, Any], hook: str, when: int, figure: Figure
) -> None:
    figure("R23", "an error in a hook where the state is whole: heard by the rest, saved, bitwise")
    assert fails(tmp_path / "run", hook, when)
    trainer = made(tmp_path / "run")
    assert ends_in(trainer, fit(trainer, resume="auto")) == unbroken


@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("hook", [*IN_A_STEP, "on_evaluation_batch_end"])
def test_within_a_step_or_an_evaluation_the_others_hear_it(
    tmp_path: Path, hook: str, when: int, figure: Figure
) -> None:
    figure("R23", "an error in a hook within a step or an evaluation: heard by the rest")
    assert fails(tmp_path / "run", hook, when)
