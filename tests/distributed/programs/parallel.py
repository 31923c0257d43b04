"""DDP and FSDP against one process: the same batches, the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from claims import claim
from torch import Tensor, nn

from trackside.distributed import setup
from trackside.distributed.ddp import DDP
from trackside.distributed.fsdp import FSDP
from trackside.distributed.gradients import clip_by_norm
from trackside.distributed.parallel import OneProcess, Parallel, follow
from trackside.distributed.state import load_model_state, model_state
from trackside.distributed.strategies import choose
from trackside.distributed.world import World
from trackside.errors import ConfigurationError

world = setup.join()
alone = World()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.linear(self.norm(x)))


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), Block(), Block(), nn.Linear(6, 3, bias=False))


def seeded() -> nn.Module:
    torch.manual_seed(3)
    return make()


def train(
    parallel: Parallel, source: Callable[[], nn.Module] | nn.Module, where: World
) -> list[Any]:
    """Four steps of two batches each, clipped; returns the norms and the final weights."""
    model = parallel.place(source, where)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    torch.manual_seed(0)
    norms = []
    for _ in range(4):
        batches = torch.randn(2, 8, 5)
        for number, batch in enumerate(batches):
            mine = batch.chunk(where.size)[where.rank]
            with parallel.no_sync(model) if number == 0 else nullcontext():
                (model(mine).square().mean() / 2).backward()
        norms.append(clip_by_norm(model.parameters(), 0.1).item())
        optimizer.step()
        optimizer.zero_grad()
    states = model_state(model, whole=True)
    return [norms, {name: value.flatten().tolist() for name, value in states.items()}]


claim("one process", train(OneProcess(), seeded, alone))
torch.manual_seed(100 + world.rank)  # each rank has other weights: those of rank 0 count
claim("ddp starts from rank 0", train(DDP(), copy.deepcopy(make()), world)[1])
torch.manual_seed(100)
claim("rank 0 alone", train(OneProcess(), make(), alone)[1])
claim("ddp", train(DDP(), seeded, world))
claim(
    "ddp, unused, no view",
    train(
        DDP(
            find_unused_parameters=True,
            gradient_as_bucket_view=False,
            bucket_megabytes=1,
            sync_buffers=False,
        ),
        seeded,
        world,
    ),
)
claim("fsdp built", train(FSDP(Block), seeded(), world))
torch.manual_seed(3)
claim("fsdp factory", train(FSDP(blocks=lambda m: isinstance(m, Block)), make, world))
claim("fsdp no blocks", train(FSDP(), seeded, world)[1])
torch.manual_seed(3)
claim(
    "fsdp offload", train(FSDP((Block,), cpu_offload=True, reshard_after_forward=True), make, world)
)
claim(
    "fsdp bf16",
    train(FSDP(Block, param_dtype=torch.bfloat16, reduce_dtype=torch.float32), seeded(), world)[0],
)
claim(
    "choices",
    [type(choose(c, w)).__name__ for c in ("auto", "ddp", "fsdp", DDP()) for w in (alone, world)],
)

model = FSDP(Block).place(seeded, world)
sharded = sum(p.to_local().numel() for p in model.parameters())  # type: ignore[attr-defined]
claim("part of the parameters", [sharded, sum(p.numel() for p in model.parameters())])

built = seeded()
optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
before = dict(built.named_parameters())
placed = FSDP(Block).place(built, world)
follow([optimizer], before, placed)
torch.manual_seed(0)
placed(torch.randn(4, 5)).square().mean().backward()
optimizer.step()
claim(
    "optimizer follows",
    {n: v.flatten().tolist() for n, v in model_state(placed, whole=True).items()},
)

whole = model_state(DDP().place(seeded, world), whole=True)
target = FSDP(Block).place(make, world)
load_model_state(target, whole if world.is_global_zero else {}, whole=True)
loaded = model_state(target, whole=True)
claim(
    "loaded",
    all(torch.equal(loaded[n], whole[n]) for n in loaded) and list(loaded) == list(whole)
    if world.is_global_zero
    else True,
)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.register_buffer("angles", torch.empty(3))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.angles = torch.arange(3.0)  # made anew, not written to
        self.embedding.weight.data.normal_(0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        return self.head(self.attention(x, x, x)[0])


torch.manual_seed(5)
reference = Tied()
torch.manual_seed(5)
tied = FSDP().place(Tied, world)
state = model_state(tied, whole=True)
if world.is_global_zero:
    same = {n: torch.equal(v, state[n]) for n, v in reference.state_dict().items()}
    claim("initial values are those of the constructor", [n for n, ok in same.items() if not ok])
else:
    claim("initial values are those of the constructor", [])
claim("tied stays tied", tied.head.weight is tied.embedding.weight)  # type: ignore[union-attr]
claim("generator", torch.rand(1).item())


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


for name, act in {
    "constructor's values": lambda: FSDP().place(lambda: nn.Sequential(Fixed()), world),
    "no such block": lambda: FSDP(nn.Conv2d).place(make, world),
    "sync batch norm": lambda: DDP(sync_batchnorm=True).place(make, world),
    "no such strategy": lambda: choose("fdsp", world),
}.items():
    try:
        act()
    except ConfigurationError as error:
        claim(name, str(error))
setup.leave()
