"""What World's collectives return on each rank."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from claims import claim

from trackside.distributed.setup import join, leave
from trackside.errors import TracksideError

world = join()
r = world.rank
claim("place", [world.rank, world.size, world.local_rank, world.is_global_zero, str(world.device)])
claim("joined twice is one world", join() is world)

for op in ("mean", "sum", "min", "max"):
    claim(f"tensor {op}", world.all_reduce(torch.tensor([1.0, 2.0]) * (r + 1), op).tolist())
    claim(f"number {op}", world.all_reduce(r + 1, op))
    mapping = world.all_reduce({"b": r + 1, "a": torch.tensor([[1.0, r]]), "c": 0.5 * r}, op)
    claim(f"mapping {op}", {k: v.tolist() if k == "a" else v for k, v in mapping.items()})  # type: ignore[attr-defined]
claim("mean of whole numbers", world.all_reduce(torch.tensor([r, 2 * r])).tolist())
claim("max of bool", world.all_reduce(torch.tensor([r == 1, False]), "max").tolist())
claim("one passes 1 and another 1.0", world.all_reduce(1 if r else 1.0, "sum"))
kept = torch.tensor([float(r)])
world.all_reduce(kept, "sum")
claim("argument untouched", kept.item())
claim("dtype kept", str(world.all_reduce(torch.tensor([1.5], dtype=torch.bfloat16), "sum").dtype))
claim("empty mapping", world.all_reduce({}))
try:
    world.all_reduce({"loss": 1.0} if r == 0 else {"loss": 1.0, "accuracy": 2.0})
except TracksideError as error:
    claim("other names", str(error).splitlines()[0])

mine = {"loss": torch.tensor([1.0 + r, 1.0])} if r == 0 else {}
mine[f"only/{r}"] = torch.tensor([0.5, 2.0])
mine["both"] = torch.tensor([0.1 * (r + 1), 1.0], dtype=torch.float64)
claim("sum by name", {k: v.tolist() for k, v in world.sum_by_name(mine).items()})
claim("sum of nothing", world.sum_by_name({}))

claim("gather objects", world.gather({"rank": r, "text": "x" * r, "nested": [1, None, 2.5]}))
lengths = [*range(980, 1040), 5000]  # up to, and beyond, what travels in one exchange
long = [world.gather("x" * (length if r else 3)) for length in lengths]
claim("gather long", [[len(text) for text in texts] for texts in long])
claim("gather tensors", [t.tolist() for t in world.gather(torch.arange(r * 3.0))])
back: Any = world.gather([(1, r), {3: torch.ones(2, dtype=torch.bfloat16)}])
claim("gather nested", [back[1][0] == (1, 1), back[1][1][3].tolist(), str(back[1][1][3].dtype)])

indices = [0, 2, 4] if r == 0 else [1, 3, 4]
rows = torch.tensor([[10.0 * i] for i in indices])
claim("rows in order", world.gather_in_order(rows, indices).flatten().tolist())
claim("items in order", world.gather_in_order([f"s{i}" for i in indices], indices))
none = world.gather_in_order(torch.empty(0) if r else torch.ones(2, 3), [] if r else [1, 0])
claim("a rank without samples", list(none.shape))
claim("no samples at all", world.gather_in_order([], []))

claim("broadcast tensor", world.broadcast(torch.full((2,), float(r)), source=1).tolist())
claim("broadcast value", world.broadcast({"a": r} if r == 0 else None))
claim("broadcast large", sum(world.broadcast([0.5] * 20_000 if r == 0 else [])))
claim("on rank zero", world.on_rank_zero(lambda: f"by {r}"))


def fails() -> None:
    raise ValueError("no space left")


try:
    world.on_rank_zero(fails)
except (ValueError, TracksideError) as error:
    claim("failure on rank zero", f"{type(error).__name__}: {error}")
beside = world.beside()
with ThreadPoolExecutor(1) as thread:
    other = thread.submit(lambda: [beside.all_reduce(2.0 * r, "sum") for _ in range(100)])
    claim("loop's turns", sum(world.all_reduce(1.0 * r, "sum") for _ in range(100)))
    claim("thread's turns", sum(other.result()))
world.barrier()
claim("open before leaving", torch.distributed.is_initialized())
leave()
claim("open after leaving", torch.distributed.is_initialized())

again = join()
claim("a second world", again.all_reduce(float(again.rank)))
leave()
