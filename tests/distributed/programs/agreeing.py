"""Two ranks step through some work; rank 1 asks for a stop, rank 0 for other things."""

from __future__ import annotations

import torch
from claims import claim

from trackside.distributed.agreement import agree
from trackside.distributed.setup import join, leave
from trackside.requests import Request

world = join()
agreement = agree(world)
applied, clock, stop_step, asked_step = [], [], None, 150
step = 0
while stop_step is None and step < 2000:
    world.all_reduce(torch.ones(1))  # the gradients: ranks keep step
    step += 1
    asked = []
    if world.rank == 0 and step == 20:
        asked.append(Request("save", "requested", "callback 0"))
    if step == asked_step:
        by = f"callback {world.rank}"
        asked.append(
            Request("stop", "no improvement", by, name="val")
            if world.rank == 1
            else Request("evaluate", "asked", by, name="val")
        )
    todo = agreement.at_step(asked)
    clock.append(agreement.seconds)
    if todo:
        applied.append([step, [[r.kind, r.reason, r.who] for r in todo]])
        if any(r.kind == "stop" for r in todo):
            stop_step = step
claim("applied", applied)
claim("clock", clock)
claim("stop asked and applied", [asked_step, stop_step])
agreement.agree_now([])
leave()
