"""What a step costs beyond a loop written by hand, as counts: the same on a busy machine."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.by_trainer import Idle, Listening, fit
from benchmarks.counting import FIRST, LAST, Counts, Marked, per_step
from benchmarks.task import build, raw_loop
from tests.device import NAME
from trackside import Callback, Settings, Trainer
from trackside.callbacks import CrashCapsule
from trackside.run import Run

STEPS = LAST - FIRST
DEVICES = sorted({"cpu", NAME})

# --- Python --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw() -> Counts:
    return per_step(raw_loop)


@pytest.fixture(scope="module")
def bare() -> Counts:
    return per_step(fit)


def test_a_step_takes_no_more_python_than_one_written_by_hand(raw: Counts, bare: Counts) -> None:
    # The budget is 300 bytecodes. Dropping the gradients takes fewer than torch's `zero_grad`.
    beyond = bare.beyond(raw)
    assert beyond.bytecodes <= (-40 if sys.version_info < (3, 12) else -26)
    assert beyond.calls <= 0


def test_the_default_callbacks_add_nothing_between_two_records(bare: Counts) -> None:
    assert per_step(lambda data: fit(data, defaults=True)) == bare


def test_a_crash_capsule_adds_nothing_where_no_callback_listens(bare: Counts) -> None:
    assert per_step(lambda data: fit(data, [CrashCapsule()])) == bare


def test_idle_callbacks_add_nothing(bare: Counts) -> None:
    assert per_step(lambda data: fit(data, [Idle() for _ in range(10)])) == bare


def test_an_event_in_a_step_costs_a_few_calls(bare: Counts) -> None:
    # Of these, 40 bytecodes and 3 calls are the callback's; the rest is spent once for all.
    listening = per_step(lambda data: fit(data, [Listening()])).beyond(bare)
    assert 0 < listening.bytecodes <= 180
    assert 0 < listening.calls <= 15


def test_one_more_listener_is_called_watched_and_timed_in_few_bytecodes() -> None:
    several, more = (
        per_step(partial(fit, callbacks=[Listening() for _ in range(n)])) for n in (10, 11)
    )
    added = more.beyond(several)
    assert 0 < added.bytecodes <= 40
    assert 0 < added.calls <= 3


def test_counts_are_the_same_each_time(bare: Counts) -> None:
    assert per_step(fit) == bare


# --- waiting for the device ----------------------------------------------------------------------

WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


class Waits(TorchDispatchMode):
    """Counts operations that bring a value to the host, whoever calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        copies = func is torch.ops.aten._to_copy.default and not args[0].is_cpu
        to_host = str(kwargs.get("device")) == "cpu" and not kwargs.get("non_blocking", False)
        self.count += func in WAITING or (copies and to_host)
        return func(*args, **kwargs)


class Read(Tensor):
    """A tensor that notes when its value is asked for; what is computed from it is one as well."""

    readings = 0
    READING = frozenset(
        [
            "item",
            "tolist",
            "cpu",
            "numpy",
            "nonzero",
            "equal",
            "allclose",
            "__bool__",
            "__float__",
            "__int__",
            "__index__",
            "__contains__",
            "__array__",
            "__repr__",
            "__format__",
        ]
    )

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Read.readings += getattr(func, "__name__", "") in cls.READING
        return super().__torch_function__(func, types, args, kwargs or {})


@contextmanager
def sync_debug(device: str) -> Iterator[None]:
    """On CUDA, whatever waits for the device is an error."""
    if device == "cuda":
        with warnings.catch_warnings():
            # It warns, once, that it is a prototype.
            warnings.simplefilter("ignore", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def waits(loop: Callable[[Any], object], device: str) -> int:
    """How often `loop` waits for the device in the steps between the marks."""
    mode = Waits()
    strict = sync_debug(device)

    def begin() -> None:
        strict.__enter__()
        mode.__enter__()

    def end() -> None:
        mode.__exit__(None, None, None)
        strict.__exit__(None, None, None)

    loop(Marked(begin, end, device))
    return mode.count


def by_hand(data: Iterable[Any], device: str) -> None:
    model, loss_function, _ = build()
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for inputs, target in data:
        loss_function(model(inputs), target).backward()
        optimizer.step()
        optimizer.zero_grad()


def by_trainer(data: Any, device: str, *callbacks: Callback[Any], **options: Any) -> None:
    model, loss_function, _ = build()
    Trainer(
        model,
        loss=loss_function,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        callbacks=callbacks,
        settings=Settings(device=device, directory=Path("run")),
        **options,
    ).fit(data, epochs=1)


class Asking(Callback[Any]):
    """Waits for a value in every step."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        output.loss.item()


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_by_hand_waits_for_nothing(device: str) -> None:
    assert waits(lambda data: by_hand(data, device), device) == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"precision": "bf16", "clip": 1.0}, {"accumulate": 2}])
def test_a_step_with_the_default_callbacks_waits_for_nothing(
    device: str, options: dict[str, Any]
) -> None:
    assert waits(lambda data: by_trainer(data, device, **options), device) == 0


def test_a_callback_that_waits_is_counted() -> None:
    assert waits(lambda data: by_trainer(data, "cpu", Asking()), "cpu") == STEPS


def readings(*callbacks: Callback[Any]) -> int:
    """How often the value of a batch, or of anything computed from it, is asked for in steps."""
    counted: list[int] = []

    def mark() -> None:
        counted.append(Read.readings)

    data = Marked(mark, mark)
    data.batches = [(inputs.as_subclass(Read), target) for inputs, target in data.batches]
    by_trainer(data, "cpu", *callbacks)
    before, after = counted
    return after - before


def test_nobody_looks_at_a_value_that_comes_from_the_batch() -> None:
    assert readings() == 0
    assert readings(Asking()) == STEPS
