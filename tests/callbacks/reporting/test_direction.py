from __future__ import annotations

import pytest

from trackside.callbacks.reporting.direction import direction


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
