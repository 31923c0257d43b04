"""Values that callbacks of other frameworks are given: on the host when read, not before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside.dialects.values import LateValues, as_mapping, is_number, loss_of, on_host, renamed
from trackside.step.output import Output


class Waiting(Tensor):
    """A tensor that counts how often somebody waits for its value."""

    waited = 0

    def item(self) -> Any:
        type(self).waited += 1
        return super().item()


@pytest.fixture
def loss() -> Tensor:
    Waiting.waited = 0
    return torch.tensor(0.5).as_subclass(Waiting)


def test_nobody_waits_for_a_value_that_is_not_read(loss: Tensor) -> None:
    logs = LateValues(loss=loss, batch_size=4)

    assert logs["batch_size"] == 4
    assert "loss" in logs
    assert len(logs) == 2
    assert Waiting.waited == 0


def test_a_value_is_waited_for_once(loss: Tensor) -> None:
    logs = LateValues(loss=loss)

    assert logs["loss"] == logs.get("loss") == logs["loss"] == 0.5
    assert Waiting.waited == 1


@pytest.mark.parametrize(
    "read",
    [
        lambda logs: dict(logs),
        lambda logs: {**logs},
        lambda logs: dict(logs.items()),
        lambda logs: {"loss": next(iter(logs.values()))},
        lambda logs: {key: logs[key] for key in logs},
        lambda logs: json.loads(json.dumps(logs)),
        lambda logs: logs.copy(),
        lambda logs: {"loss": logs.pop("loss")},
        lambda logs: {"loss": logs.get("loss")},
        lambda logs: eval(repr(logs)),
        lambda logs: {} | logs,
        lambda logs: logs | {},
        lambda logs: {"loss": logs.setdefault("loss", 1.0)},
    ],
)
def test_however_it_is_read_it_is_a_number(read: Callable[[Any], Any], loss: Tensor) -> None:
    found = read(LateValues(loss=loss))

    assert found == {"loss": 0.5}
    assert type(found["loss"]) is float


def test_a_missing_key_is_missed_as_in_any_dict() -> None:
    logs = LateValues()

    assert logs.get("loss") is None
    assert logs.get("loss", 1.0) == 1.0
    assert logs.pop("loss", 2.0) == 2.0
    with pytest.raises(KeyError):
        logs["loss"]


def test_what_is_more_than_a_number_stays_a_tensor() -> None:
    assert torch.equal(LateValues(matrix=torch.eye(2))["matrix"], torch.eye(2))


def test_metrics_get_their_names() -> None:
    metrics = {"train/loss": 1, "val/loss": 2, "val/top_5": 3, "test/loss": 4}

    assert renamed(metrics, {"train/": "", "val/": "val_"}) == {
        "loss": 1,
        "val_loss": 2,
        "val_top_5": 3,
        "test_loss": 4,
    }


def test_an_output_becomes_a_dict_without_gradients() -> None:
    prediction = nn.Linear(2, 1)(torch.ones(3, 2))
    output = Output(prediction.mean(), prediction, torch.ones(3))

    found = as_mapping(output, {"prediction": "model_outputs"})

    assert set(found) == {"loss", "model_outputs", "target"}
    assert not any(value.requires_grad for value in found.values())
    assert loss_of(output).requires_grad is False


def test_a_dict_that_a_step_returned_is_passed_on_whole() -> None:
    returned = {"loss": torch.ones((), requires_grad=True), "more": "text"}

    found = as_mapping(returned)

    assert found["more"] == "text"
    assert not found["loss"].requires_grad
    assert returned["loss"].requires_grad  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, True),
        (1.5, True),
        (torch.tensor(2), True),
        (torch.ones(1), True),
        (True, False),
        (torch.ones(2), False),
        (torch.tensor(True), False),
        ("1", False),
        (None, False),
    ],
)
def test_what_can_be_logged_is_a_number(value: Any, expected: bool) -> None:
    assert is_number(value) is expected


def test_a_tensor_of_one_element_comes_to_the_host() -> None:
    assert on_host(torch.tensor(2.0)) == 2.0
    assert on_host("text") == "text"
