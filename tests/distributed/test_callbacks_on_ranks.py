"""Callbacks that touch weights, gradients and data do on two ranks what they do on one."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import RunAlone, StartForked, TorchRun

pytestmark = pytest.mark.distributed
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def one(alone: RunAlone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program claims when it runs in one process."""
    return alone("callbacks.py", tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def two(
    request: pytest.FixtureRequest,
    on_ranks: StartForked,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, TorchRun]:
    """How the models are spread, and the run on two ranks."""
    folder = tmp_path_factory.mktemp(request.param)
    environment = {"PARALLEL": request.param}
    run = on_ranks("callbacks.py", folder, environment=environment, timeout_seconds=110)
    assert run.exit_code == 0, run
    return request.param, run


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float):
        return bool(a == pytest.approx(b, rel=TOLERANCE, abs=TOLERANCE))
    return bool(a == b)


@pytest.mark.parametrize(
    "what",
    [
        "averages",
        "averages with a finder",
        "gradients",
        "clip by value",
        "schedules",
        "tuning",
        "limits",
        "evaluations",
    ],
)
@pytest.mark.parametrize("claim", ["rows", "contents"])
def test_two_ranks_are_one(
    one: dict[str, Any], two: tuple[str, TorchRun], what: str, claim: str
) -> None:
    first, second = two[1].claimed(f"{what}: {claim}")

    assert first == second, "it differs between ranks"
    assert close(first, one[f"{what}: {claim}"])


def test_weights_are_transferred_on_every_rank(
    one: dict[str, Any], two: tuple[str, TorchRun]
) -> None:
    first, second = two[1].claimed("student")

    assert two[1].claimed("begins as its teacher") == [True, True]
    assert first == second
    assert close(first, one["student"])


def test_artifacts_are_written_whole_and_sent_once(two: tuple[str, TorchRun]) -> None:
    assert sorted(two[1].claimed("sent")) == [[], ["weights-student", "weights-teacher"]]
    assert two[1].claimed("kept") == [True, True]


def test_a_constructor_gets_the_parts_of_its_rank(two: tuple[str, TorchRun]) -> None:
    assert sorted(two[1].claimed("parts")) == [[0, 2, True, True], [1, 2, True, True]]


def test_histograms_count_every_value_once(one: dict[str, Any], two: tuple[str, TorchRun]) -> None:
    first, second = two[1].claimed("histograms")

    assert first == second
    assert close(first, one["histograms"])


def test_the_noise_of_gradients_is_estimated_over_ranks(two: tuple[str, TorchRun]) -> None:
    parallel, run = two
    if parallel == "ddp":
        first, second = run.claimed("noise: rows")
        assert first == second
        assert any("grad/noise_scale" in row for row in first)


@pytest.mark.parametrize("what", ["averages", "schedules"])
def test_a_resumed_run_is_the_unbroken_one(two: tuple[str, TorchRun], what: str) -> None:
    parallel, run = two
    if parallel == "ddp":
        assert run.claimed(f"{what}: resumed as unbroken") == [True, True]
