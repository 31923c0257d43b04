"""The ways a run ends, and what a shell hears of them."""

from __future__ import annotations

import pytest

from trackside.outcome import Outcome, Status


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        (Outcome(Status.COMPLETED, "done"), 0),
        (Outcome(Status.STOPPED, "enough"), 0),
        (Outcome(Status.FAILED, "broken"), 1),
        (Outcome(Status.INTERRUPTED, "Ctrl-C", signal=2), 130),
        (Outcome(Status.INTERRUPTED, "SIGTERM", signal=15), 143),
        (Outcome(Status.INTERRUPTED, "somehow"), 130),
    ],
)
def test_exit_codes(outcome: Outcome, exit_code: int) -> None:
    assert outcome.exit_code == exit_code


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (
            Outcome(Status.COMPLETED, "reached epochs=3", step=9),
            "completed at step 9: reached epochs=3",
        ),
        (
            Outcome(Status.STOPPED, "no improvement", "early_stopping", 4),
            "stopped at step 4: no improvement, asked by early_stopping",
        ),
    ],
)
def test_an_outcome_reads_as_a_sentence(outcome: Outcome, text: str) -> None:
    assert str(outcome) == text


def test_a_status_is_its_word() -> None:
    assert Status("stopped") is Status.STOPPED
    assert f"{Status.FAILED}" == "failed"
