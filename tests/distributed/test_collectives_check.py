from __future__ import annotations

import pytest
import torch.distributed as dist

from tests.distributed.conftest import StartForked, TorchRun
from trackside.distributed.collectives_check import CHECKED, VARIABLE, CollectivesCheck, wanted
from trackside.distributed.world import World


@pytest.fixture(scope="module", params=["other", "nobody"])
def differing(request: pytest.FixtureRequest, on_ranks: StartForked) -> TorchRun:
    return on_ranks("differing.py", request.param)


@pytest.mark.distributed
def test_a_callback_with_its_own_collective_is_named_instead_of_hanging(
    differing: TorchRun,
) -> None:
    assert not differing.hung, str(differing)
    assert differing.claimed("the same collectives pass") == [True, True]
    errors = dict(map(tuple, differing.claimed("error")))
    text = errors["CollectivesDifferError"]
    assert "'checkpoint'" in text
    assert "barrier" in text
    if "different" in text:
        assert "all_reduce of float32[2, 3] by 'table' on rank 1" in text
    else:
        assert "rank 1 has called no such thing for 5 seconds" in text


@pytest.mark.distributed
def test_torch_s_functions_are_put_back(differing: TorchRun) -> None:
    assert differing.claimed("put back") == ["torch.distributed.distributed_c10d"] * 2


@pytest.mark.distributed
@pytest.mark.slow
def test_another_shape_is_another_collective(on_ranks: StartForked) -> None:
    run = on_ranks("differing.py", "shape")
    assert not run.hung, str(run)
    assert "float32[2] by 'checkpoint' on rank 0" in str(run.claimed("error"))


def test_in_one_process_nothing_is_replaced() -> None:
    before = [getattr(dist, name) for name in CHECKED]
    with CollectivesCheck(World(), lambda: "callback"):
        assert [getattr(dist, name) for name in CHECKED] == before


@pytest.mark.parametrize(
    ("environment", "on"), [({}, False), ({VARIABLE: "0"}, False), ({VARIABLE: "1"}, True)]
)
def test_the_environment_turns_it_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on
