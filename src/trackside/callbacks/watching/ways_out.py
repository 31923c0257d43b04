"""Where memory ran out, and what helps there."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Literal

from trackside.machine.accelerator import memory_counters
from trackside.run import Run

Phase = Literal[
    "forward pass",
    "backward pass",
    "update",
    "move of the batch",
    "save",
    "evaluation",
    "prediction",
    "set-up",
]

_PLACES: tuple[tuple[str, str, Phase], ...] = (
    # module, or the beginning of its name; beginning of the function's name; phase
    ("trackside.checkpoint.", "", "save"),
    ("trackside.data.batches", "move", "move of the batch"),
    ("torch.optim.", "", "update"),
    ("trackside.loop.update", "update", "update"),
    ("torch._tensor", "Tensor.backward", "backward pass"),
    ("trackside.loop.update", "backward", "backward pass"),
    ("trackside.loop.halving", "_backward", "backward pass"),
    ("trackside.loop.evaluate", "", "evaluation"),
    ("trackside.loop.predict", "", "prediction"),
    ("trackside.loop.fit", "train_batch", "forward pass"),
    ("trackside.loop.compiled", "CompiledSteps", "forward pass"),
    ("trackside.loop.captured", "CapturedSteps", "forward pass"),
    ("trackside.loop.halving", "_Batch._compute", "forward pass"),
)
_FRAGMENTED = 0.2
"""Share of the reserved memory that is in no tensor, from which pieces are worth a word."""


def phase_of(frames: Sequence[FrameType]) -> Phase:
    """The part of a run in which an error came up, by the frames of its traceback."""
    for module, function, phase in _PLACES:
        for frame in frames:
            name = str(frame.f_globals.get("__name__", ""))
            if name.startswith(module) and frame.f_code.co_qualname.startswith(function):
                return phase
    return "set-up"


def ways_out(run: Run, phase: Phase) -> list[str]:
    """Ways in which a run needs less memory in this phase, the first one to try first."""
    shards = "shard the model over several ranks: Settings(strategy='fsdp')"
    if phase == "save":
        return ["write checkpoints without a copy of their own: Checkpoint(background=False)"]
    if phase == "set-up":
        return ["a smaller model, or weights in bf16", shards]
    if phase == "update":
        ways = ["an optimizer with less state: SGD has none or one copy, Adam two", shards]
    elif phase in ("evaluation", "prediction"):
        ways = [
            "a loader with smaller batches for this data",
            "an evaluation_step that returns less: predictions are kept for metrics over all",
        ]
    else:
        ways = [
            *_halving(run),
            f"a smaller `batch_size` with accumulate={run.accumulate * 2} in its place",
            "torch.utils.checkpoint in the model, which computes activations again",
            shards,
        ]
    if "precision" in vars(run) and run.precision.name == "fp32":
        ways.insert(1, "precision='bf16'")
    return ways + _pieces(run)


def _halving(run: Run) -> list[str]:
    """The word on halved batches; none where single samples go through already."""
    parts = [halving.samples for halving in run.halvings][-1:]
    if parts == [1]:
        return []
    further = [f"further, below {samples} samples" for samples in parts]
    return [" ".join(["let batches be halved", *further]) + ": Settings(halve_batches_to=1)"]


def _pieces(run: Run) -> list[str]:
    """A word on memory in pieces that are too small, where torch counts any."""
    counters = memory_counters(run.device)
    if counters is None:
        return []
    reserved = counters.memory_reserved(run.device)
    unused = reserved - counters.memory_allocated(run.device)
    if unused < _FRAGMENTED * reserved or not reserved:
        return []
    return [
        f"PYTORCH_ALLOC_CONF=expandable_segments:True: {unused / 2**30:.1f} GiB are reserved and "
        "in no tensor"
    ]
