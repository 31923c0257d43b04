from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest

from trackside.errors import DuplicateCallbackError, MissingRequirementError, RegistrationError
from trackside.lifecycle import adoption
from trackside.lifecycle.adoption import Adopted, adopt, original
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


class Theirs:
    """A callback of a framework that trackside knows nothing of."""


class Quieter(Theirs):
    pass


class Adapter(Adopted):
    dialect = "theirs"

    def check(self, run_class: type[Run], others: Iterable[Callback[Any]]) -> None:
        if any(type(original(other)) is Quieter for other in others):
            raise MissingRequirementError("nobody joins a quiet one")


class Native(Callback):
    pass


@pytest.fixture(autouse=True)
def dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dialect that knows `Theirs`, and takes classes for instances."""

    def adopter(callback: object) -> Adopted | None:
        if isinstance(callback, type) and issubclass(callback, Theirs):
            callback = callback()
        return Adapter(callback) if isinstance(callback, Theirs) else None

    monkeypatch.setattr(adoption, "adopters", [adopter])


def test_a_callback_of_ours_is_left_as_it_is() -> None:
    native = Native()

    assert adopt(native) is native


def test_a_callback_that_a_dialect_knows_is_adopted() -> None:
    theirs = Theirs()

    adopted = adopt(theirs)

    assert isinstance(adopted, Adapter)
    assert original(adopted) is theirs


def test_what_nobody_knows_is_refused_by_the_collection() -> None:
    with pytest.raises(RegistrationError, match="is not a callback"):
        CallbackCollection([object()])


def test_adopted_callbacks_join_in_the_order_in_which_they_are_given() -> None:
    theirs, ours = Theirs(), Native()

    collection = CallbackCollection([theirs, ours])

    assert [original(callback) for callback in collection] == [theirs, ours]
    assert collection.names == ("Theirs", "native")


def test_a_class_is_adopted_where_its_dialect_makes_instances() -> None:
    collection = CallbackCollection([Theirs])

    assert isinstance(collection["Theirs"], Theirs)


def test_looking_up_returns_the_callback_that_was_registered() -> None:
    theirs = Theirs()
    collection = CallbackCollection({"mine": theirs})

    assert collection["mine"] is theirs
    assert collection[Theirs] is theirs
    assert collection.get("mine") is theirs
    assert theirs in collection
    assert collection.name_of(theirs) == "mine"


def test_a_second_one_of_the_same_class_gets_a_name_of_its_own() -> None:
    assert CallbackCollection([Theirs(), Theirs()]).names == ("Theirs", "Theirs_2")


def test_the_same_instance_twice_is_refused() -> None:
    theirs = Theirs()

    with pytest.raises(DuplicateCallbackError, match="the same instance of `Theirs`"):
        CallbackCollection([theirs, theirs])


def test_an_adopted_callback_can_be_set_replaced_and_deleted_by_name() -> None:
    collection = CallbackCollection()
    collection["mine"] = Theirs()
    second = Theirs()
    collection["mine"] = second
    assert collection["mine"] is second

    del collection["mine"]

    assert len(collection) == 0


def test_setting_the_same_instance_again_changes_nothing() -> None:
    theirs = Theirs()
    collection = CallbackCollection({"mine": theirs})
    adapter = next(iter(collection))

    collection["mine"] = theirs

    assert next(iter(collection)) is adapter


def test_a_dialect_may_refuse_a_callback_for_those_that_are_there() -> None:
    collection = CallbackCollection([Quieter()])

    with pytest.raises(MissingRequirementError, match="quiet"):
        collection.append(Theirs())

    assert len(collection) == 1


def test_a_callback_replaces_one_that_would_have_refused_it() -> None:
    collection = CallbackCollection({"mine": Quieter()})

    collection["mine"] = Theirs()

    assert type(collection["mine"]) is Theirs


def test_order_constraints_know_adopted_classes() -> None:
    class Later(Native):
        runs_after = (Theirs,)  # type: ignore[assignment]

    assert CallbackCollection([Later(), Theirs()]).names == ("Theirs", "later")


def test_a_class_of_a_known_package_brings_its_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adoption.DIALECTS, "their_package", "their_dialect")
    module = ModuleType("trackside.dialects.their_dialect")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    imported: list[str] = []
    monkeypatch.setattr(adoption, "import_module", imported.append)
    theirs = type("Early", (), {"__module__": "their_package.callbacks"})()

    adopt(theirs)

    assert imported == ["trackside.dialects.their_dialect"]


@pytest.mark.parametrize("module", ["their_package_two", "my.their_package", "builtins"])
def test_a_class_of_another_package_brings_none(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adoption.DIALECTS, "their_package", "their_dialect")
    imported: list[str] = []
    monkeypatch.setattr(adoption, "import_module", imported.append)

    adopt(type("Early", (), {"__module__": module})())

    assert imported == []


def test_a_dialect_says_which_models_bring_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    known, other = (type(name, (), {"__module__": "lightning.x"}) for name in ("Odd", "Other"))
    monkeypatch.setattr(adoption, "import_module", lambda name: None)
    monkeypatch.setattr(adoption, "with_steps", [lambda kind: kind is known])

    assert adoption.brings_steps(known)
    assert not adoption.brings_steps(other)
    assert not adoption.brings_steps(known())
    assert adoption.trainer_class(dict, other()) is dict
