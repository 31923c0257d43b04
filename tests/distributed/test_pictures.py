"""Pictures and checkpoints on two ranks are those of one: rank 0 draws, all take part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def two(
    request: pytest.FixtureRequest,
    on_ranks: StartForked,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TorchRun, Path]:
    """The run on two ranks, and its folder."""
    folder = tmp_path_factory.mktemp(request.param)
    environment = {"PARALLEL": request.param}
    run = on_ranks("pictures.py", folder, environment=environment, timeout_seconds=110)
    assert run.exit_code == 0, run
    return run, folder


def test_no_callback_fails(two: tuple[TorchRun, Path]) -> None:
    assert two[0].claimed("failed callbacks") == [{}, {}]


def test_both_ranks_look_at_the_first_samples_in_the_order_of_the_data(
    two: tuple[TorchRun, Path],
) -> None:
    first = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(9))[0]

    assert two[0].claimed("samples") == [[0, 1, 0, 1, 0]] * 2
    assert two[0].claimed("first image") == [first.flatten().tolist()] * 2


def test_every_picture_is_there_once(two: tuple[TorchRun, Path]) -> None:
    files = sorted(str(path.relative_to(two[1])) for path in two[1].rglob("*.png"))

    steps = ("step-0000000006.png", "step-0000000012.png")
    names = ("model/samples", "val/attention/0", "val/features/cut", "val/predictions")
    assert files == ["history.png", *(f"pictures/{n}/{s}" for n in names for s in steps)]


def test_the_decay_begins_and_ends_exactly_at_its_checkpoints(two: tuple[TorchRun, Path]) -> None:
    assert two[0].claimed("saved")[0] == ["step-0000000005", "step-0000000009"]


def test_the_exported_model_is_the_trained_one(two: tuple[TorchRun, Path]) -> None:
    assert two[0].claimed("exported") == [True, True]
