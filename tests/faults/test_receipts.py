"""R16: honest runs are verified by their receipts, changed ones are refused with the reason."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.proof import programs, tampering
from trackside.proof.verification import verify

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_of_twenty_honest_runs_twenty_are_verified(
    tmp_path: Path, seed: int, figure: Figure
) -> None:
    figure("R16", "honest runs verified, some of their steps trained again")
    dice = random.Random(seed)
    lr, every = dice.choice([0.01, 0.05]), f"{dice.randrange(2, 9)} steps"
    programs.receipted(str(tmp_path), lr, dice.randrange(1, 4), every=every).fit()

    found = verify(tmp_path, seed=seed)

    assert (found.problems, found.not_checked) == ([], [])
    assert len(found.checked) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", tampering.TAMPERS)
def test_of_twenty_changed_runs_twenty_are_refused_with_the_reason(
    tmp_path: Path, name: str, seed: int, figure: Figure
) -> None:
    figure("R16", f"{name} changed: refused with the reason")
    programs.receipted(str(tmp_path / "run")).fit()
    subject, tamper = tampering.TAMPERS[name]
    tamper(tmp_path / "run", random.Random(seed))

    found = verify(tmp_path / "run", steps=0)

    assert found.problems
    assert {problem.subject for problem in found.problems} == {subject}


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_a_changed_checkpoint_with_a_receipt_computed_again_is_found_by_training(
    tmp_path: Path, place: int, figure: Figure
) -> None:
    figure("R16", "weights of another training, with a receipt computed again: found by training")
    programs.receipted(str(tmp_path / "run")).fit()
    tampering.swapped_with_a_new_receipt(tmp_path / "run", place)

    found = [verify(tmp_path / "run", seed=seed) for seed in range(6)]

    assert any(problem.subject == "training" for one in found for problem in one.problems)
