from __future__ import annotations

import pytest

from tests.distributed.conftest import StartTorchrun


@pytest.mark.distributed
@pytest.mark.slow
def test_in_a_ring_of_three_every_death_is_heard(torchrun: StartTorchrun) -> None:
    run = torchrun("ring.py", ranks=3)
    assert not run.hung, str(run)
    assert [rank.claims.get("first") for rank in run.ranks] == [[1, "died"], None, [1, "died"]]
