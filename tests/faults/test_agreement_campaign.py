"""R14: ranks that come to differ in one thing, again and again, by torchrun.

Each kind of difference once is a normal test, in `tests/distributed/test_agreeing_ranks.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.conftest import StartTorchrun
from tests.distributed.conftest import torchrun as torchrun
from tests.faults.figures import Figure

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]
TIMES = 10
PLANTED = {
    "ddp": ["weight", "rate", "option", "sample", "flag"],
    "fsdp": ["rate", "option", "sample", "flag"],  # a shard is there once: nothing to compare with
}


def is_named(name: str, text: str) -> bool:
    """Whether an error names what differs; the first batch of an epoch is compared at once."""
    return name in text or (name.startswith("sample") and "draw different batches" in text)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("strategy", PLANTED)
def test_a_difference_is_found_and_named(
    torchrun: StartTorchrun, tmp_path: Path, strategy: str, ranks: int, figure: Figure
) -> None:
    run = torchrun(
        "agreeing_ranks.py",
        tmp_path,
        strategy,
        "nothing",
        *PLANTED[strategy],
        ranks=ranks,
        environment={"SEEDS": str(TIMES)},
        timeout_seconds=600,
    )
    assert (run.exit_code, run.hung) == (0, False), run

    honest = [run.claimed(f"nothing {seed}") for seed in range(TIMES)]
    alarms = sum(any(text for text, *_ in of_ranks) for of_ranks in honest)
    figure("R14", "alarms in honest trainings", passed=alarms, of=TIMES)
    missed = []
    for what in PLANTED[strategy]:
        of_seeds = [run.claimed(f"{what} {seed}") for seed in range(TIMES)]
        found = [all(is_named(name, text) for text, name, *_ in claims) for claims in of_seeds]
        what_is_told = f"{strategy}: a {what} that differs, named on every rank"
        figure("R14", what_is_told, passed=sum(found), of=TIMES)
        missed += [(what, seed) for seed in range(TIMES) if not found[seed]]
    assert (alarms, missed) == (0, []), run
