"""Options of another type than their hint says are refused by name, wherever people give them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import trackside.callbacks
from trackside import DDP, FSDP, Callback, Clip, Scheduler, Secret, Settings, Trainer
from trackside.callbacks import (
    EMA,
    AccumulationSchedule,
    Checkpoint,
    EarlyStopping,
    LearningRate,
    LRScheduler,
    StopAt,
)
from trackside.errors import ConfigurationError
from trackside.vocabulary.option_types import METHODS, held_to_types

DATA = TensorDataset(torch.randn(8, 2), torch.randn(8, 1))
PLAIN = (bool, int, float, str, types.NoneType)
CLASSES = [getattr(trackside.callbacks, name) for name in trackside.callbacks.__all__]
OTHERS: list[Any] = [Settings, Scheduler, Clip, DDP, FSDP]


class Thing:
    """An object that no option takes."""


def members(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (Union, types.UnionType)
    return get_args(hint) if union else (hint,)


def wrong_values(hint: Any) -> Iterator[object]:
    """Values that no member of a hint takes; none for hints that leave it to the constructor."""
    kinds = members(hint)
    bare = {get_origin(kind) or kind for kind in kinds}
    if bare <= set(PLAIN):
        yield from (Thing(), [1], b"x")
        if types.NoneType not in bare:
            yield None
        if str not in bare:
            yield from ("x", "no", "5")
        if not bare & {int, float}:
            yield 5
            if bool not in bare:
                yield True
        elif bool not in bare:
            yield True
        if int in bare and float not in bare:
            yield 2.5
    elif torch.device in bare:
        yield from (Thing(), [1], None, True)
    elif all(isinstance(kind, type) for kind in bare - {types.NoneType}):
        is_mapping = any(issubclass(kind, Mapping) for kind in bare)
        if is_mapping or any(issubclass(kind, Iterable) and kind is not str for kind in bare):
            if not bare & {int, float}:
                yield 5
            if bool not in bare:
                yield True
            if str not in bare:
                yield "loss"
            if not is_mapping and any(issubclass(kind, Sequence) for kind in bare - {str}):
                yield from ({"loss"}, iter(["loss"]))
            if is_mapping and len(bare - {types.NoneType}) == 1:
                yield [1]


def cases(kinds: Iterable[Any]) -> Iterator[Any]:
    for kind in kinds:
        for name, hint in get_type_hints(kind.__init__).items():
            for value in wrong_values(hint) if name != "return" else ():
                plain = isinstance(value, (*PLAIN, list, set, bytes))
                shown = repr(value) if plain else type(value).__name__  # no address: ids are alike
                yield pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{shown}")


@pytest.mark.parametrize(("kind", "option", "value"), list(cases([*CLASSES, *OTHERS])))
def test_an_option_of_another_type_is_refused_by_its_name(
    kind: Any, option: str, value: object
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(**{option: value})

    assert caught.value.option == option


def test_the_table_holds_most_options() -> None:
    walked = {(case.values[0], case.values[1]) for case in cases(CLASSES)}

    assert len(walked) > 240


def trainer(**options: Any) -> Trainer:
    given: dict[str, Any] = {
        "loss": nn.MSELoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        "defaults": False,
        **options,
    }
    return Trainer(nn.Linear(2, 1), **given)


CALLS: dict[str, Callable[..., Any]] = {
    "__init__": trainer,
    "fit": lambda **options: trainer().fit(DATA, steps=1, **options),
    "evaluate": lambda **options: trainer().evaluate(DATA, **options),
    "predict": lambda **options: trainer().predict(DATA, **options),
}


@pytest.mark.parametrize(
    ("method", "option"),
    [(name, one) for name, options in METHODS["Trainer"].items() for one in options],
)
def test_an_option_of_the_trainer_of_another_type_is_refused(method: str, option: str) -> None:
    for value in (Thing(), "x" if option != "name" else 5):
        with pytest.raises(ConfigurationError) as caught:
            CALLS[method](**{option: value})

        assert caught.value.option == option


@pytest.mark.parametrize(
    "made",
    [
        lambda: StopAt(step=np.int64(5)),  # type: ignore[arg-type]
        lambda: EarlyStopping("val/loss", min_delta=np.float32(0.1)),  # type: ignore[arg-type]
        lambda: EarlyStopping("val/loss", min_delta=1),
        lambda: EarlyStopping("val/loss", restore_best=np.bool_(True)),  # type: ignore[arg-type]
        lambda: LearningRate(also=["momentum"]),
        lambda: LearningRate(also=("momentum",)),
        lambda: Settings(device=torch.device("cpu"), directory=Path("runs/one")),
        lambda: Settings(device=0),
    ],
)
def test_what_means_the_same_is_taken(made: Callable[[], object]) -> None:
    assert made() is not None


@pytest.mark.parametrize(
    "made",
    [
        lambda: EarlyStopping("val/loss", patience=np.int64(2)).patience,  # type: ignore[arg-type]
        lambda: AccumulationSchedule({np.int64(0): np.int64(2)}).batches[0],  # type: ignore[dict-item]
        lambda: Settings(halve_batches_to=np.int64(2)).halve_batches_to,  # type: ignore[arg-type]
        lambda: trainer(accumulate=np.int64(2)).accumulate,
        lambda: trainer(clip=np.float32(2)).clip.norm,  # type: ignore[union-attr]
        lambda: trainer().fit(DATA, steps=np.int64(2), batch_size=np.int64(4)).outcome.step,  # type: ignore[arg-type]
    ],
)
def test_numbers_of_numpy_are_those_of_python(made: Callable[[], object]) -> None:
    found = made()

    assert found == 2
    assert type(found) in (int, float)


def test_a_list_that_is_given_stays_the_same_object() -> None:
    kept: list[str] = ["momentum"]
    seen: list[object] = []

    @held_to_types()
    def take(also: list[str], more: dict[str, int]) -> None:
        seen.extend([also, more])

    more = {"a": 1}
    take(kept, more)

    assert seen[0] is kept
    assert seen[1] is more


@pytest.mark.parametrize(
    ("callback", "shown"),
    [
        (EMA(0.9, buffers="copy"), "EMA(0.9, buffers='copy')"),
        (EarlyStopping(min_delta=2.0), "EarlyStopping(min_delta=2.0)"),
        (LRScheduler("step", {"step_size": 1}), "LRScheduler('step', options={'step_size': 1})"),
        (StopAt(step=5), "StopAt(step=5)"),
    ],
)
def test_a_callback_shows_all_that_it_was_given(callback: Callback, shown: str) -> None:
    assert repr(callback) == shown


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        (lambda: StopAt(step="5"), "without quotes: step=5"),  # type: ignore[arg-type]
        (lambda: Checkpoint(background="no"), "background=False"),  # type: ignore[arg-type]
        (
            lambda: LearningRate(also="momentum"),
            "a list, also of one: also=['momentum']",
        ),
    ],
)
def test_the_error_says_what_was_probably_meant(made: Callable[[], object], remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made()

    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | None, "a whole number or None"),
        (Sequence[str], "a list of texts"),
        (Mapping[str, float] | None, "a mapping from texts to numbers or None"),
        (tuple[int, float], "a list of whole numbers and numbers"),
        (Sequence[Mapping[str, str]], "a list of mappings from texts to texts"),
        (str | Path, "a text or a path"),
        (Settings | None, "a `Settings` or None"),
        (list[Any], "a list"),
        (type[nn.Module], "a class"),
    ],
)
def test_the_error_says_what_a_hint_takes(hint: Any, words: str) -> None:
    def take(it: Any) -> None:
        raise AssertionError(it)

    take.__annotations__["it"] = hint
    with pytest.raises(ConfigurationError) as caught:
        held_to_types()(take)(1j)

    assert caught.value.expected == words


def test_the_error_says_what_is_taken_and_what_came() -> None:
    with pytest.raises(ConfigurationError) as caught:
        StopAt("val/loss", below="x")  # type: ignore[arg-type]

    assert str(caught.value).split("\n")[0] == "below='x' can't be used"
    assert caught.value.expected == "a number or None"
    assert caught.value.received == "str"


def test_a_secret_of_another_type_is_not_shown() -> None:
    @held_to_types()
    def send(key: Secret, password: str) -> None:
        raise AssertionError((key, password))

    for call in (lambda: send(31415926, "x"), lambda: send("x", 31415926)):  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError) as caught:
            call()

        assert "31415926" not in str(caught.value)


def test_callbacks_of_users_are_their_own() -> None:
    class Mine(Callback):
        def __init__(self, every: int = 5) -> None:
            self.every = every

    assert str(Mine("x").every) == "x"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*CLASSES, *OTHERS])
def test_the_constructor_keeps_its_signature(kind: Any) -> None:
    names = list(inspect.signature(kind).parameters)

    assert "arguments" not in names
    assert "keywords" not in names


def test_a_call_with_too_much_is_refused_by_python() -> None:
    with pytest.raises(TypeError, match="positional"):
        StopAt("val/loss", 5)  # type: ignore[call-arg]
