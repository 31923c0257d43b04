"""Members are found by name, instance and class at a cost that doesn't grow with their number."""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Trainer
from trackside.errors import OrderCycleError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.outcome import Outcome, Status
from trackside.run import Run


class Base(Callback[Run]):
    pass


class Plain(Base):
    def on_step_end(self, run: Run) -> None: ...


class Last(Callback[Run]):
    runs_after = (Base, "plain_2")
    requires = (Base,)


class First(Callback[Run]):
    runs_before = (Base,)


class Abstract(Callback[Run], ABC):
    pass


class NeedsAbstract(Abstract):
    requires = (Abstract,)


KINDS: list[type[Callback[Run]]] = [Plain, Last, First, NeedsAbstract]


def many(count: int) -> list[Callback[Run]]:
    return [KINDS[number % len(KINDS)]() for number in range(count)]


def bytecodes(act: Callable[[], object]) -> int:
    """How many bytecodes `act` takes: the same on a busy machine."""
    total = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal total
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        total += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return total


def together(count: int) -> None:
    CallbackCollection(many(count))


def one_by_one(count: int) -> None:
    collection = CallbackCollection()
    for _ in range(count):
        collection.append(Plain())


def by_name(count: int) -> None:
    CallbackCollection({f"callback {number}": one for number, one in enumerate(many(count))})


def through_a_run(count: int) -> None:
    collection = CallbackCollection(many(count))
    events = Dispatcher(Run("fit"))
    collection.enter(events)
    events.fire(Callback.on_step_end)
    events.close(Outcome(Status.COMPLETED, "over"))
    collection.leave()


def looked_up(count: int) -> None:
    callbacks = many(count)
    collection = CallbackCollection(callbacks)
    for callback in callbacks:
        assert collection[collection.name_of(callback)] in collection


def trained(count: int) -> None:
    data = TensorDataset(torch.zeros(2, 1), torch.zeros(2, 1))
    trainer = Trainer(
        nn.Linear(1, 1),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=many(count),
        defaults=False,
    )
    trainer.fit(data, epochs=1, batch_size=2)


FEW = 40


@pytest.mark.parametrize("act", [together, one_by_one, by_name, through_a_run, looked_up])
def test_many_callbacks_join_and_leave_at_a_cost_that_grows_with_their_number(
    act: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each is checked by itself, at a cost that would hide what is counted here.
    monkeypatch.setattr("trackside.lifecycle.collection.check_callback", lambda *_: None)
    act(FEW)
    costs = [bytecodes(partial(act, count)) for count in (FEW, 2 * FEW, 4 * FEW)]
    first, second = costs[1] - costs[0], costs[2] - costs[1]
    # Twice as many more cost twice as much more; were it quadratic, four times.
    assert second < 2.1 * first


def test_many_callbacks_are_trained_with_at_a_cost_that_grows_with_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trackside.lifecycle.collection.check_callback", lambda *_: None)
    trained(FEW)
    costs = [bytecodes(partial(trained, count)) for count in (FEW, 2 * FEW, 4 * FEW)]
    first, second = costs[1] - costs[0], costs[2] - costs[1]
    assert second < 2.1 * first


def test_a_circle_of_many_callbacks_is_told() -> None:
    def one(number: int) -> Callback[Run]:
        callback = Plain()
        callback.name = f"c{number}"
        callback.runs_after = (f"c{(number + 1) % 1200}",)
        return callback

    with pytest.raises(OrderCycleError, match=r"c0 -> c1199 -> .* -> c1 -> c0"):
        CallbackCollection([one(number) for number in range(1200)])


def test_the_least_free_number_names_the_next_of_a_class() -> None:
    collection = CallbackCollection([Plain(), Plain(), Plain(), Plain()])
    del collection["plain_2"]
    del collection["plain_3"]
    collection.append(Plain())
    collection.append(Plain())
    collection.append(Plain())

    assert collection.names == ("plain", "plain_4", "plain_2", "plain_3", "plain_5")


def test_a_replacement_is_the_first_of_its_class_where_the_former_was() -> None:
    collection = CallbackCollection({"a": Plain(), "b": Plain()})
    new = Plain()
    collection["a"] = new

    assert collection[Plain] is new


def test_an_appended_callback_takes_the_place_that_others_gave_its_name() -> None:
    early = Plain()
    early.runs_after = ("late",)
    collection = CallbackCollection({"early": early})
    collection.append(First(), "late")

    assert collection.names == ("late", "early")
