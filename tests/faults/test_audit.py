"""R15: bits that flip inside audited steps are found, and honest steps raise no alarm."""

from __future__ import annotations

import pytest
import torch

from tests.callbacks.watching.flipping import WHAT, Flips
from tests.faults.figures import Figure
from trackside.callbacks import StepAudit
from trackside.testing import tiny_classification

pytestmark = pytest.mark.timeout(600)


def play(what: str, seed: int, flips: int, figure: Figure, *, low: bool) -> None:
    audit = StepAudit("1 step", policy="warn")
    # Every second step has a flip: the others are its honest neighbours.
    flipper = Flips((what,), seed, due=lambda step: step % 2 == 0, low=low)
    task = tiny_classification()
    task.trainer(callbacks=[flipper, audit]).fit(task.train, steps=2 * flips + 1)
    found = {finding.step for finding in audit.findings}
    kind = "the lowest bit of" if low else "any bit of"
    tensor = f"a {what.removeprefix('updated ')}" + " after its update" * what.startswith("updated")
    figure(
        "R15",
        f"{kind} {tensor}, flipped in a step: found",
        passed=len(found & flipper.flipped.keys()),
        of=len(flipper.flipped),
    )
    assert found == flipper.flipped.keys()
    assert len(flipper.flipped) == flips


def honest(steps: int, figure: Figure) -> None:
    audit, audited = StepAudit("1 step", policy="warn"), tiny_classification()
    audited.trainer(callbacks=[audit]).fit(audited.train, steps=steps)
    plain = tiny_classification()
    plain.trainer().fit(plain.train, steps=steps)
    figure("R15", "alarms in honest steps", passed=len(audit.findings), of=steps)
    assert (audit.audited, audit.findings) == (steps, [])
    assert torch.equal(audited.weights, plain.weights)


@pytest.mark.slow
@pytest.mark.parametrize("low", [False, True], ids=["any", "lowest"])
@pytest.mark.parametrize("what", WHAT)
def test_of_a_thousand_flipped_bits_a_thousand_are_found(
    what: str, low: bool, figure: Figure
) -> None:
    play(what, WHAT.index(what), 100, figure, low=low)


@pytest.mark.slow
def test_ten_thousand_honest_steps_raise_no_alarm(figure: Figure) -> None:
    honest(10_000, figure)
