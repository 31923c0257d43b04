"""A collection works like a list and like a mapping, and keeps its order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trackside.errors import (
    DuplicateCallbackError,
    MissingRequirementError,
    OrderCycleError,
    RegistrationError,
    UnknownCallbackError,
)
from trackside.lifecycle.collection import CallbackCollection, snake_case
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


class Plain(Callback[Run]):
    def on_step_end(self, run: Run) -> None: ...

    def on_close(self, run: Run, outcome: Any) -> None: ...


class Other(Callback[Run]):
    def on_step_end(self, run: Run) -> None: ...


class Third(Callback[Run]):
    pass


class NeedsOther(Callback[Run]):
    requires = (Other,)


def named(name: str, **attributes: Any) -> Callback[Run]:
    callback = Plain()
    callback.name = name
    for key, value in attributes.items():
        setattr(callback, key, value)
    return callback


# --- like a list and like a mapping ------------------------------------------------------------


def test_it_takes_a_list_and_names_by_class() -> None:
    collection = CallbackCollection([Plain(), Other(), Plain(), Plain()])

    assert collection.names == ("plain", "other", "plain_2", "plain_3")
    assert len(collection) == 4


def test_it_takes_a_mapping_by_name() -> None:
    one, two = Plain(), Plain()
    collection = CallbackCollection({"one": one, "two": two})

    assert collection.items() == [("one", one), ("two", two)]
    assert list(collection) == [one, two]


def test_look_up_by_name_by_class_and_by_instance() -> None:
    one = Plain()
    collection = CallbackCollection([one])

    assert collection["plain"] is one
    assert collection[Plain] is one
    assert collection[Callback] is one
    assert collection.get("none") is None
    assert "plain" in collection
    assert Plain in collection
    assert one in collection
    assert Other not in collection
    assert Plain() not in collection
    assert collection.name_of(one) == "plain"


def test_a_missing_one_is_a_key_error_with_the_nearest_name() -> None:
    collection = CallbackCollection([Plain(), Other()])

    with pytest.raises(KeyError, match="did you mean `plain`") as info:
        collection["plian"]
    assert isinstance(info.value, UnknownCallbackError)
    with pytest.raises(KeyError, match="'Third'"):
        collection[Third]
    with pytest.raises(KeyError):
        del collection["plian"]
    with pytest.raises(KeyError):
        collection.name_of(Plain())


def test_append_set_replace_and_delete() -> None:
    collection = CallbackCollection()
    collection.append(Plain(), "first")
    collection["second"] = Other()
    new = Third()
    collection["first"] = new

    assert collection.items() == [("first", new), ("second", collection[Other])]
    del collection[Other]
    assert collection.names == ("first",)


def test_setting_the_same_instance_again_changes_nothing() -> None:
    one = Plain()
    collection = CallbackCollection([one])
    collection["plain"] = one

    assert collection.items() == [("plain", one)]


def test_it_shows_its_callbacks_by_name_in_their_order() -> None:
    collection = CallbackCollection({"late": named("late", runs_after=("early",))})
    collection.append(Plain(), "early")

    assert repr(collection) == "CallbackCollection(early=Plain(), late=Plain())"


def test_a_class_that_needs_nothing_is_taken_for_an_instance() -> None:
    collection = CallbackCollection([Plain])
    collection.append(Plain, "second")

    assert collection.names == ("plain", "second")
    assert isinstance(collection["plain"], Plain)
    assert collection["plain"] is not collection["second"]


class Needing(Callback[Run]):
    """Can't be made without being told its path."""

    def __init__(self, path: str) -> None:
        self.path = path


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: [Needing], RegistrationError, "`Needing` is a class, not a callback"),
        (lambda: [print], RegistrationError, f"{print!r} is not a callback"),
        (lambda: [None], RegistrationError, "None is not a callback"),
        (
            lambda: [named("x"), named("x")],
            DuplicateCallbackError,
            "two callbacks are named 'x'",
        ),
        (
            lambda: [NeedsOther()],
            MissingRequirementError,
            "'needs_other' needs a callback of class `Other`",
        ),
        (
            lambda: [named("a", runs_after=("b",)), named("b", runs_after=("a",))],
            OrderCycleError,
            "the order of the callbacks goes in a circle: a -> b -> a",
        ),
        (
            lambda: [
                named("x"),
                named("a", runs_before=("b",)),
                named("b", runs_before=("c",)),
                named("c", runs_before=("a",)),
            ],
            OrderCycleError,
            "the order of the callbacks goes in a circle: a -> b -> c -> a",
        ),
    ],
)
def test_what_cannot_join_is_refused(make: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind) as caught:
        CallbackCollection(make())
    assert str(caught.value).splitlines()[0] == message


def test_the_same_instance_twice_is_refused() -> None:
    one = Plain()
    with pytest.raises(
        DuplicateCallbackError, match="the same instance of `Plain` was added twice"
    ):
        CallbackCollection([one, one])
    with pytest.raises(DuplicateCallbackError):
        CallbackCollection({"a": one, "b": one})


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.append(NeedsOther()),
        lambda c: c.append(named("z", runs_before=("a",), runs_after=("a",))),
        lambda c: c.__setitem__("a", NeedsOther()),
        lambda c: c.__setitem__("b", named("b", runs_before=("a",), runs_after=("a",))),
        lambda c: c.append(named("a")),
        lambda c: c.append(c["a"]),
    ],
)
def test_a_refused_change_leaves_everything_as_it_was(change: Any) -> None:
    collection = CallbackCollection([named("a"), named("b")])
    before = collection.items()

    with pytest.raises(RegistrationError):
        change(collection)
    assert collection.items() == before
    assert len(collection) == 2


def test_what_another_one_requires_cannot_be_removed_before_it() -> None:
    collection = CallbackCollection([Other(), NeedsOther()])

    with pytest.raises(MissingRequirementError):
        del collection[Other]
    assert collection.names == ("other", "needs_other")
    del collection[NeedsOther]
    del collection[Other]
    assert len(collection) == 0


def test_a_requirement_is_met_by_a_subclass() -> None:
    class Special(Other):
        pass

    assert len(CallbackCollection([NeedsOther(), Special()])) == 2


# --- order -------------------------------------------------------------------------------------


@st.composite
def constrained(draw: st.DrawFn) -> list[Callback[Run]]:
    count = draw(st.integers(1, 7))
    names = [f"c{n}" for n in range(count)]
    # Edges along a random order: no cycle.
    order = draw(st.permutations(names))
    callbacks = {name: named(name) for name in names}
    for first, second in itertools.combinations(order, 2):
        how = draw(st.sampled_from(["none", "none", "after", "before"]))
        if how == "after":
            callbacks[second].runs_after += (first,)
        elif how == "before":
            callbacks[first].runs_before += (second,)
    return [callbacks[name] for name in names]


def edges(callbacks: list[Callback[Run]]) -> set[tuple[str, str]]:
    after = {(str(o), str(c.name)) for c in callbacks for o in c.runs_after}
    return after | {(str(c.name), str(o)) for c in callbacks for o in c.runs_before}


@given(callbacks=constrained())
def test_the_order_keeps_every_constraint_and_is_stable(callbacks: list[Callback[Run]]) -> None:
    names = CallbackCollection(callbacks).names
    place = {name: index for index, name in enumerate(names)}

    assert sorted(names) == sorted(str(c.name) for c in callbacks)
    assert all(place[first] < place[second] for first, second in edges(callbacks))
    # Stable: at each place stands the first one added among those whose predecessors are done.
    added = [str(c.name) for c in callbacks]
    for index, name in enumerate(names):
        done = set(names[:index])
        ready = [
            other
            for other in added
            if other not in done and all(a in done for a, b in edges(callbacks) if b == other)
        ]
        assert name == ready[0]


@given(callbacks=constrained(), data=st.data())
def test_a_contradiction_is_found_and_printed_as_a_circle(
    callbacks: list[Callback[Run]], data: st.DataObject
) -> None:
    names = CallbackCollection(callbacks).names
    assume(edges(callbacks))
    first, second = data.draw(st.sampled_from(sorted(edges(callbacks))))
    by_name = {c.name: c for c in callbacks}
    by_name[first].runs_after += (second,)

    with pytest.raises(OrderCycleError) as caught:
        CallbackCollection(callbacks)
    circle = str(caught.value).splitlines()[0].partition(": ")[2].split(" -> ")
    assert circle[0] == circle[-1]
    assert set(circle) <= set(names)
    assert all(pair in edges(callbacks) for pair in itertools.pairwise(circle))


def test_constraints_may_name_classes_and_absent_ones_are_ignored() -> None:
    late = named("late", runs_after=(Other, Third, "nobody"))

    assert CallbackCollection([late, Other()]).names == ("other", "late")


def test_who_listens_to_a_hook_is_told_in_order_and_closing_in_reverse() -> None:
    collection = CallbackCollection([named("b", runs_after=("a",)), Third(), named("a")])

    assert collection.order(Callback.on_step_end) == ["a", "b"]
    assert collection.order("on_close") == ["b", "a"]
    assert collection.table()["on_step_end"] == ["a", "b"]
    assert "on_step_start" not in collection.table()


# --- names and state ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("EarlyStopping", "early_stopping"),
        ("CSVLogger", "csv_logger"),
        ("JSONLinesLogger", "json_lines_logger"),
        ("EMA", "ema"),
        ("Top5Accuracy", "top5_accuracy"),
    ],
)
def test_names_in_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


class Counting(Callback[Run]):
    def __init__(self, count: int = 0) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count} if self.count else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_states_come_by_name_and_find_their_callbacks_in_another_order() -> None:
    saved = CallbackCollection({"a": Counting(1), "b": Counting(2), "c": Counting()}).state_dict()
    restored = CallbackCollection({"b": Counting(), "a": Counting(), "c": Counting()})
    restored.load_state_dict(saved)

    assert saved == {"a": {"count": 1}, "b": {"count": 2}}
    assert (restored["a"].count, restored["b"].count, restored["c"].count) == (1, 2, 0)


def test_a_state_without_its_callback_and_a_callback_without_its_state_are_told() -> None:
    collection = CallbackCollection({"new": Counting(5)})
    with pytest.warns(UserWarning, match="callback|checkpoint") as caught:
        collection.load_state_dict({"old": {"count": 1}})

    assert [str(w.message) for w in caught] == [
        "callback 'new' starts fresh: the checkpoint has no state of it",
        "the checkpoint has a state of 'old', and there is no such callback now",
    ]
