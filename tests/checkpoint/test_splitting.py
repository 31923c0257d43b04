from __future__ import annotations

import collections
import datetime
import enum
import io
import json
import pathlib
import random
import threading
import types
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from tests.checkpoint.states import E8M0, equal
from trackside.checkpoint import UnsavableStateError, check_savable
from trackside.checkpoint.joining import join
from trackside.checkpoint.splitting import DEEPEST, split


class Colour(enum.Enum):
    RED = "r"
    BLUE = (0, 0, 1)


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


def there_and_back(state: Any, **options: Any) -> Any:
    parts = split(state)
    text = json.dumps(parts.skeleton, allow_nan=False)
    return join(json.loads(text), parts.tensors, **options)


ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))

SAME: list[Any] = [
    None,
    True,
    "text, \ud800 and $tags",
    2**63 - 1,
    -(2**63),
    2**64,
    -(10**5000),
    1.5,
    -0.0,
    float("inf"),
    float("-inf"),
    float("nan"),
    complex(1, float("inf")),
    b"\x00\xff",
    (),
    (1, (2, [3])),
    {1, "a", (2, 3)},
    frozenset({b"x", None}),
    {},
    {"a": {"b": {}}},
    {0: "zero", "0": "text", (1, 2): "pair", None: "none", 1.5: "float", b"b": "bytes"},
    {"$tensor": "a key that looks like a tag"},
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.deque([1, 2], maxlen=2),
    pathlib.Path("runs/a b"),
    datetime.datetime(2026, 3, 1, 12, 30, 1, 5),
    datetime.datetime(2026, 3, 1, tzinfo=ZONE),
    datetime.date(2026, 3, 1),
    datetime.time(12, 30),
    datetime.timedelta(days=-1, microseconds=7),
    torch.float8_e4m3fn,
    torch.Size([2, 3]),
    torch.device("cuda:1"),
    np.float32(0.1),
    np.float64("nan").reshape(()),
    np.int8(-3),
    np.bool_(True),
    np.datetime64("2026-03-01T12:00:00", "ms"),
    np.complex128(1 + 2j),
    np.longdouble("0.1"),
    random.Random(3).getstate(),
    np.random.RandomState(3).get_state(),
    np.random.default_rng(3).bit_generator.state,
]


@pytest.mark.parametrize("value", SAME, ids=lambda value: f"{type(value).__name__}")
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    assert equal(there_and_back({"x": [value]}), {"x": [value]})


@pytest.mark.parametrize(
    ("value", "comes_back"),
    [
        (Point(1, 2), (1, 2)),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (bytearray(b"x"), b"x"),
        (np.str_(""), ""),
        (Colour.RED, "r"),
        (Colour.BLUE, (0, 0, 1)),
        (Level.LOW, 1),
        ({Colour.RED: 1}, {"r": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_special_form_comes_back_as_the_plain_one(value: Any, comes_back: Any) -> None:
    assert equal(there_and_back(value), comes_back)


def test_members_of_accepted_enums_come_back_as_members() -> None:
    state = {"a": Colour.BLUE, "b": Level.LOW}
    assert there_and_back(state, enums=[Colour, Level]) == state


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        *E8M0,
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.uint16,
        torch.uint64,
        torch.bool,
        torch.complex64,
        torch.complex128,
    ],
    ids=str,
)
def test_a_tensor_of_every_dtype_can_be_split(dtype: torch.dtype) -> None:
    tensor = torch.tensor([1, 0, 2]).to(dtype)
    assert split({"x": tensor}).tensors["x"] is tensor


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        np.float32(3) + np.zeros((), np.float32),
        np.zeros((0, 3)),
        np.arange(6).reshape(2, 3)[:, ::-2],
        np.arange(3, dtype=">i4"),
        np.array(["a", "bcd"]),
        np.array([b"a"]),
        np.array(["2026-03-01"], dtype="M8[D]"),
        np.array([], dtype="U3"),
        np.array([1 + 2j]),
        np.array([True]),
        np.array([1], dtype=np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_array_comes_back_with_dtype_and_shape(array: np.ndarray[Any, Any]) -> None:
    assert equal(there_and_back([array]), [array])


def test_a_read_only_array_is_no_trouble() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    assert equal(there_and_back(array), array)


def test_the_key_of_a_tensor_is_its_path() -> None:
    state = {"optimizers": [{"state": {3: {"exp_avg": torch.ones(1)}}}]}
    assert list(split(state).tensors) == ["optimizers.0.state.3.exp_avg"]


def test_two_leaves_with_the_same_path_get_two_keys() -> None:
    state = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}
    assert equal(there_and_back(state), state)
    assert len(split(state).tensors) == 2


@pytest.mark.parametrize("name", ["__metadata__", "rank-00000/x"])
def test_a_name_that_the_format_needs_itself_is_avoided(name: str) -> None:
    state = {name: torch.ones(1)}
    assert name not in split(state).tensors
    assert equal(there_and_back(state), state)


def test_tied_weights_are_kept_once_and_stay_tied() -> None:
    shared = torch.randn(2, 2)
    state = {"embedding": shared, "head": shared.detach(), "view": shared[0]}
    assert set(split(state).tensors) == {"embedding", "view"}
    back = there_and_back(state)
    assert back["embedding"] is back["head"]
    assert equal(back, state)


def test_two_views_of_one_memory_are_two_tensors() -> None:
    base = torch.arange(4.0).reshape(2, 2)
    state = {"base": base, "turned": base.T, "conjugate": torch.ones(2, dtype=torch.cfloat).conj()}
    assert len(split(state).tensors) == 3


def test_empty_tensors_are_not_taken_for_each_other() -> None:
    state = {"a": torch.empty(0, 2), "b": torch.empty(0, dtype=torch.int64)}
    assert equal(there_and_back(state), state)


def test_the_versions_in_a_model_s_state_come_back() -> None:
    model = torch.nn.BatchNorm1d(2)
    back = there_and_back({"model": model.state_dict()})["model"]
    assert back._metadata == model.state_dict()._metadata  # type: ignore[attr-defined]


def test_the_same_state_gives_the_same_text() -> None:
    words = [f"word {i}" for i in range(20)]
    assert split(set(words)).skeleton == {"$set": sorted(words, key=repr)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (io.BytesIO(), "an open file"),
        (lambda: 1, "a function"),
        (print, "a function (print)"),
        (int, "a class (int)"),
        (threading.Lock(), "an object of the class _thread.lock"),
        (iter([1]), "an iterator"),
        (torch.nn.Linear(1, 1), "a module (Linear); save its `state_dict()`"),
        (torch.Generator(), "save its `get_state()`"),
        (np.random.default_rng(0), "save its `bit_generator.state`"),
        (torch.ones(2).to_sparse(), "a sparse tensor"),
        (torch.ones(2, device="meta"), "meta device"),
        (torch.nn.UninitializedParameter(), "UninitializedParameter"),
        (np.array([object()]), "a numpy array of object"),
        (np.zeros(1, dtype=[("a", "i4")]), "a numpy array of"),
        (np.ma.array([1]), "MaskedArray"),
        ({torch.ones(1)}, "a tensor as a key or in a set"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_an_error_with_its_path(value: Any, reason: str) -> None:
    state = {"my_logger": {"handles": [1, value]}}
    with pytest.raises(UnsavableStateError) as caught:
        check_savable(state, where="callbacks")
    assert "callbacks.my_logger.handles.1" in str(caught.value)
    assert reason in str(caught.value)


def test_every_leaf_that_does_not_fit_is_named_up_to_ten() -> None:
    with pytest.raises(UnsavableStateError) as caught:
        check_savable({f"leaf_{i}": print for i in range(12)})
    assert str(caught.value).count("a function") == 10
    assert "and 2 more" in str(caught.value)


def test_a_state_that_contains_itself_is_an_error() -> None:
    state: dict[str, Any] = {"a": {}}
    state["a"]["b"] = state
    with pytest.raises(UnsavableStateError, match=r"a\.b: it contains itself"):
        check_savable(state)


def test_a_state_is_an_error_when_it_is_deeper_than_a_reader_follows() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {0: (value,)}
        return value

    assert equal(there_and_back(nested(DEEPEST // 2 - 1)), nested(DEEPEST // 2 - 1))
    with pytest.raises(UnsavableStateError, match="nested deeper"):
        check_savable(nested(DEEPEST))


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.datetimes()
    | st.timedeltas()
)
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text()) | st.binary()
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.lists(inner).map(tuple)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@given(states)
def test_every_state_of_plain_values_comes_back(state: Any) -> None:
    assert equal(there_and_back(state), state)
