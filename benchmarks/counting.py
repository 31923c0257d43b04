"""What a loop does per step, as counts: free of noise, on a busy machine too.

A regression shows in them where times can't be trusted; the test suite guards them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch

from benchmarks.task import batches

FIRST, LAST = 10, 40
"""Batches between which is counted: no record falls in between, so nothing is due there."""

Loop = Callable[[Any], object]


class Counts(NamedTuple):
    """Of one step."""

    bytecodes: float
    """Python bytecodes, those inside of torch included."""
    calls: float
    """Calls, of Python functions and of C functions from Python."""

    def beyond(self, other: Counts) -> Counts:
        """What is done here more than there."""
        return Counts(self.bytecodes - other.bytecodes, self.calls - other.calls)


class Marked:
    """Batches in memory, of which some are asked for between `begin()` and `end()`.

    Args:
        begin: Called when batch `FIRST` is asked for.
        end: Called when batch `LAST` is asked for.
        device: Where the batches are.
    """

    def __init__(
        self, begin: Callable[[], object], end: Callable[[], object], device: str = "cpu"
    ) -> None:
        self._marks = {FIRST: begin, LAST: end}
        self.batches = [
            tuple(part.to(torch.device(device)) for part in batch) for batch in batches(LAST + 1)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.batches):
            if number in self._marks:
                self._marks[number]()
            yield batch


def per_step(loop: Loop) -> Counts:
    """What `loop` does in a step, the way to its batch included."""
    loop(batches(FIRST))  # what is done once in a process is done
    steps = LAST - FIRST
    return Counts(_bytecodes(loop) / steps, _calls(loop) / steps)


def _bytecodes(loop: Loop) -> int:
    # From Python 3.12 on, a tracer hears of the bytecodes of no frame that began before it asked;
    # what came instead counts them itself.
    return _monitored(loop) if sys.version_info >= (3, 12) else _traced(loop)


def _monitored(loop: Loop) -> int:
    total, between, monitoring = 0, False, sys.monitoring  # type: ignore[attr-defined]
    tool, instruction = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION

    def count(code: CodeType, offset: int) -> None:
        nonlocal total
        total += 1

    def mark() -> None:
        nonlocal between
        between = not between
        monitoring.set_events(tool, instruction if between else 0)

    def observe(begin: Any) -> None:
        if begin is None:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, instruction, None)
            monitoring.free_tool_id(tool)
        else:
            monitoring.use_tool_id(tool, __name__)
            monitoring.register_callback(tool, instruction, begin)

    return _observed(loop, lambda: None, observe, count, mark, lambda: total)


def _traced(loop: Loop) -> int:
    total, between = 0, False

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal total
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        total += between and event == "opcode"
        return trace

    def mark() -> None:
        nonlocal between
        between = not between

    return _observed(loop, sys.gettrace, sys.settrace, trace, mark, lambda: total)


def _calls(loop: Loop) -> int:
    total, between = 0, False

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal total
        total += between and event in ("call", "c_call")

    def mark() -> None:
        nonlocal between
        between = not between

    return _observed(loop, sys.getprofile, sys.setprofile, profile, mark, lambda: total)


def _observed(
    loop: Loop,
    former: Callable[[], Any],
    observe: Callable[[Any], None],
    observer: Callable[..., Any],
    mark: Callable[[], None],
    total: Callable[[], int],
) -> int:
    """Run `loop` under `observer`, which looks between the two marks only."""
    before = former()
    data = Marked(mark, mark)
    gc.collect()
    gc.disable()  # it calls finalizers whenever it happens to come by
    observe(observer)
    try:
        loop(data)
    finally:
        observe(before)
        gc.enable()
    return total()
