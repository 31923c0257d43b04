"""Checkpoints of models that no rank holds whole: FSDP2 in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoint.states import equal
from trackside.checkpoint import inspect, open_checkpoint

pytestmark = pytest.mark.distributed

PROGRAM = Path(__file__).parent / "programs" / "sharded.py"


def run(task: str, root: Path, ranks: int) -> None:
    meeting = root.with_suffix(f".{task}-{ranks}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "USE_LIBUV": "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), task, str(root), str(rank), str(ranks), str(meeting)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=90)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all("done" in output for output in outputs), "\n".join(outputs)


@pytest.fixture(scope="module")
def saved_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sharded") / "checkpoints"
    run("save", root, 2)
    return root


def test_one_process_loads_whole_tensors_of_what_two_ranks_saved(saved_by_two: Path) -> None:
    checkpoint = open_checkpoint(saved_by_two / "step-0000000001")
    state = checkpoint.state()
    expected = load_file(saved_by_two.with_suffix(".expected.safetensors"))
    assert all(equal(value, expected[name]) for name, value in state["model"].items())
    for index, slots in state["optimizer"]["state"].items():
        assert all(equal(value, expected[f"{index}.{name}"]) for name, value in slots.items())
    assert [checkpoint.rank_state(rank) for rank in (0, 1)] == [{"rank": 0}, {"rank": 1}]


def test_each_rank_wrote_its_part_of_a_sharded_tensor(saved_by_two: Path) -> None:
    found = inspect(saved_by_two / "step-0000000001")
    pieces = {tensor.path: (tensor.shape, tensor.pieces) for tensor in found.tensors}
    assert pieces["model.0.weight"] == ((5, 3), 2)
    assert pieces["model.1.running_mean"] == ((5,), 1)
    size_bytes = sum(tensor.size_bytes for tensor in found.tensors)
    [first, second] = sorted((saved_by_two / "step-0000000001").glob("shard-*"))
    assert size_bytes <= first.stat().st_size + second.stat().st_size


def test_another_number_of_ranks_loads_its_parts(saved_by_two: Path) -> None:
    run("load", saved_by_two, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("saving", "loading"), [(2, 2), (1, 3), (3, 2), (4, 1), (3, 4), (6, 1)])
def test_any_number_of_ranks_loads_what_any_number_saved(
    tmp_path: Path, saving: int, loading: int
) -> None:
    run("save", tmp_path / "checkpoints", saving)
    run("load", tmp_path / "checkpoints", loading)


def test_torch_still_has_what_the_writing_of_shards_stands_on() -> None:
    from torch.distributed.tensor import DTensor

    assert hasattr(DTensor, "__create_write_items__")
    assert hasattr(torch.distributed.tensor.placement_types.Replicate, "is_replicate")
