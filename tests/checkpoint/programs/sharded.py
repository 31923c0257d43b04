"""Saves or loads a model and its AdamW sharded by FSDP2; one process per rank.

Arguments: `save` or `load`, the folder, rank, number of ranks, and a file for them to meet.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from trackside.checkpoint import CheckpointWriter, Saving, load


class GroupRanks:
    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._group = dist.new_group(backend="gloo")

    def gather(self, value: Any, /) -> list[Any]:
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value, group=self._group)
        return gathered


def train(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model after a step. Its first layer has 5 rows: ranks hold different amounts of it."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    # Four ranks hold everything twice: two groups of two.
    size = dist.get_world_size()
    shape, names = ((2, 2), ("replicate", "shard")) if size == 4 else ((size,), ("shard",))
    fully_shard(model, mesh=init_device_mesh("cpu", shape, mesh_dim_names=names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def whole(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor of the state, put together from all ranks."""
    tensors = dict(state["model"])
    for index, slots in state["optimizer"]["state"].items():
        tensors |= {f"{index}.{name}": value for name, value in slots.items()}
    return {
        # On one rank the whole is the parameter itself.
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).clone()
        for name, value in tensors.items()
    }


def main(task: str, root: str, rank: str, size: str, meeting: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(size)
    )
    ranks, expected = GroupRanks(), Path(root).with_suffix(".expected.safetensors")
    if task == "save":
        model, optimizer = train(seed=0)
        writer = CheckpointWriter(root, "run", ranks=ranks)
        writer.save(state_of(model, optimizer), Saving(step=1), rank_state={"rank": int(rank)})
        before = whole(state_of(model, optimizer))
        with torch.no_grad():  # while it is written
            for parameter in model.parameters():
                parameter.zero_()
        writer.close()
        [saved] = writer.poll()
        assert saved.manifest.world_size == int(size)
        if rank == "0":
            save_file(before, expected)
    else:
        model, optimizer = train(seed=1)
        like = state_of(model, optimizer)
        state = load(Path(root) / "step-0000000001", like=like)
        local = state["model"]["0.weight"].to_local()
        assert local.shape == like["model"]["0.weight"].to_local().shape
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        now, then = whole(state_of(model, optimizer)), load_file(expected)
        assert now.keys() == then.keys()
        wrong = {name for name in then if not torch.equal(now[name], then[name])}
        assert not wrong, wrong
    dist.barrier()
    dist.destroy_process_group()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
