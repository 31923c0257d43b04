from __future__ import annotations

import pytest

from trackside.errors import ConfigurationError
from trackside.vocabulary import directions
from trackside.vocabulary.directions import declare_direction, direction


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("val/loss", "min"),
        ("val/accuracy", "max"),
        ("val/top5_accuracy", "max"),
        ("test/F1", "max"),
        ("val/mean_squared_error", "min"),
        ("val/perplexity", "min"),
        ("val/margin", None),
        ("time/epoch_seconds", None),
        ("loss/weight", None),
    ],
)
def test_the_name_of_a_metric_tells_which_way_is_better(name: str, mode: str | None) -> None:
    assert direction(name) == mode


def test_a_declared_direction_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "_declared", {})
    assert direction("val/kendall_tau") is None

    declare_direction("kendall_tau", "max")
    declare_direction("test/score", "min")

    assert direction("val/kendall_tau") == "max"
    assert (direction("test/score"), direction("val/score")) == ("min", "max")


def test_a_declared_direction_is_one_of_two() -> None:
    with pytest.raises(ConfigurationError, match="'up' is not a direction"):
        declare_direction("tau", "up")  # type: ignore[arg-type]
