"""R14: ranks that come to differ in one thing, again and again, by torchrun.

Each kind of difference once is a normal test, in `tests/distributed/test_agreeing_ranks.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.distributed.conftest import StartTorchrun
from tests.distributed.conftest import torchrun as torchrun
from tests.faults.figures import Figure

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(3600)]
TIMES = 20
AT_ONCE = 5
"""Seeds of one process."""
PLANTED = {
    "ddp": ["weight", "rate", "option", "sample", "flag", "buffer", "content"],
    # A shard is there once: there is nothing to compare it with.
    "fsdp": ["rate", "option", "sample", "flag", "buffer", "content"],
    "hsdp": ["weight"],  # two copies of a sharded model
}


CASES = [("ddp", 2), ("ddp", 3), ("fsdp", 2), ("fsdp", 3), ("hsdp", 2), ("hsdp", 4)]


@pytest.mark.parametrize(("strategy", "ranks"), CASES)
def test_a_difference_is_found_and_named(
    torchrun: StartTorchrun, tmp_path: Path, strategy: str, ranks: int, figure: Figure
) -> None:
    found: dict[str, list[Any]] = {}
    for start in range(0, TIMES, AT_ONCE):
        run = torchrun(
            "agreeing_ranks.py",
            tmp_path,
            strategy,
            "nothing",
            *PLANTED[strategy],
            ranks=ranks,
            environment={"SEEDS": f"{start} {start + AT_ONCE}"},
            timeout_seconds=1200,
        )
        assert (run.exit_code, run.hung) == (0, False), run
        found |= {name: run.claimed(name) for name in run.ranks[0].claims}

    honest = [found[f"nothing {seed}"] for seed in range(TIMES)]
    alarms = sum(any(text for text, *_ in of_ranks) for of_ranks in honest)
    figure("R14", f"{strategy}, {ranks} ranks: alarms in honest trainings", passed=alarms, of=TIMES)
    missed = []
    for what in PLANTED[strategy]:
        of_seeds = [found[f"{what} {seed}"] for seed in range(TIMES)]
        named = [all(name and name in text for text, name, *_ in claims) for claims in of_seeds]
        told = f"{strategy}, {ranks} ranks: {what} that differs, named on every rank"
        figure("R14", told, passed=sum(named), of=TIMES)
        missed += [(what, seed) for seed in range(TIMES) if not named[seed]]
    assert (alarms, missed) == (0, [])
