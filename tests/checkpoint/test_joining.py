from __future__ import annotations

from typing import Any

import pytest
import torch

from trackside.checkpoint.joining import TensorLeaf, join, tensor_leaves
from trackside.checkpoint.splitting import split

TENSORS = {"x": torch.arange(8, dtype=torch.uint8), "half": torch.ones(2, dtype=torch.bfloat16)}


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "skeleton",
    [
        {"$import": "os.system"},
        {"$tensor": "absent"},
        {"$tensor": 3},
        {"$tensor": ["x", "complex128"]},
        {"$tensor": ["x", "float32"]},
        {"$array": "half"},
        {"$array": ["x", "O", [1]]},
        {"$array": ["x", "V8", [1]]},
        {"$array": ["x", "<f8", [2**40]]},
        {"$array": ["x", "<f8", [-1, -1]]},
        {"$array": ["x", "<U0", [2**40]]},
        {"$scalar": ["O", "AAAAAAAAAAA="]},
        {"$scalar": ["<f8", "AAAA"]},
        {"$dtype": "load"},
        {"$dtype": "float_"},
        {"$device": "no such device"},
        {"$int": "import os"},
        {"$bytes": "not base64!"},
        {"$set": [[]]},
        {"$dict": [[[], 1]]},
        {"$dict": 3},
        {"$size": ["a"]},
        {"$deque": [[1], -1]},
        {"$datetime": "tomorrow"},
        {"$timedelta": [10**20]},
        {"$path": 3},
        {"$enum": ["os.system"]},
        {"$tuple": [1], "more": 2},
        deep(600),
    ],
    ids=str,
)
def test_a_skeleton_that_split_does_not_make_is_refused(skeleton: Any) -> None:
    with pytest.raises(ValueError):
        join(skeleton, TENSORS)


def test_the_type_of_an_enum_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    monkeypatch.setattr(builtins, "__import__", lambda *_: pytest.fail("something was imported"))
    assert join({"$enum": ["this.Zen", "NAME", 3]}, {}) == 3


def test_tensor_leaves_say_where_each_tensor_stands() -> None:
    model = torch.nn.Linear(1, 1)
    state = {
        "model": model.state_dict(),
        "state": {3: (torch.ones(1, dtype=torch.complex128),)},
    }
    assert list(tensor_leaves(split(state).skeleton)) == [
        TensorLeaf("model.weight", "model.weight", None),
        TensorLeaf("model.bias", "model.bias", None),
        TensorLeaf("state.3.0", "state.3.0", "complex128"),
    ]
