"""R14: ranks that come to differ in one thing, again and again, by torchrun.

Each kind of difference once is a normal test, in `tests/distributed/test_agreeing_ranks.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.conftest import StartTorchrun
from tests.distributed.conftest import torchrun as torchrun
from tests.faults.figures import Figure

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(3600)]
TIMES = 20
PLANTED = {
    "ddp": ["weight", "rate", "option", "sample", "flag", "buffer"],
    # A shard is there once: there is nothing to compare it with.
    "fsdp": ["rate", "option", "sample", "flag", "buffer"],
}


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
        timeout_seconds=3500,
    )
    assert (run.exit_code, run.hung) == (0, False), run

    honest = [run.claimed(f"nothing {seed}") for seed in range(TIMES)]
    alarms = sum(any(text for text, *_ in of_ranks) for of_ranks in honest)
    figure("R14", f"{strategy}, {ranks} ranks: alarms in honest trainings", passed=alarms, of=TIMES)
    missed = []
    for what in PLANTED[strategy]:
        of_seeds = [run.claimed(f"{what} {seed}") for seed in range(TIMES)]
        found = [all(name and name in text for text, name, *_ in claims) for claims in of_seeds]
        where = f"{strategy}, {ranks} ranks"
        figure(
            "R14",
            f"{where}: a {what} that differs, named on every rank",
            passed=sum(found),
            of=TIMES,
        )
        missed += [(what, seed) for seed in range(TIMES) if not found[seed]]
    assert (alarms, missed) == (0, []), run
