"""What comes from the environment is used, and stays as it was written wherever it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.config.text.secrets import kept_values

KEY = "k3y-of-a-service"
ENV = "${oc.env:KEY}"


@pytest.mark.parametrize(
    ("written", "value", "kept"),
    [
        ({"a": ENV}, {"a": KEY}, {"a": ENV}),
        ({"a": [1, ENV]}, {"a": [1, KEY]}, {"a": [1, ENV]}),
        ({"a": f"x-{ENV}"}, {"a": f"x-{KEY}"}, {"a": f"x-{ENV}"}),
        ({"a": ENV, "b": "${a}"}, {"a": KEY, "b": KEY}, {"a": ENV, "b": "${a}"}),
        ({"a": ENV, "b": "u:${a}@h"}, {"a": KEY, "b": f"u:{KEY}@h"}, {"a": ENV, "b": "u:${a}@h"}),
        (
            {"s": {"a": ENV}, "b": "${s}"},
            {"s": {"a": KEY}, "b": {"a": KEY}},
            {"s": {"a": ENV}, "b": "${s}"},
        ),
        ({"a": "${oc.decode:${oc.env:N}}"}, {"a": 12}, {"a": "${oc.decode:${oc.env:N}}"}),
        ({"a": 1, "b": "${a}"}, {"a": 1, "b": 1}, {"a": 1, "b": 1}),
        ({"a": ENV, "b": 11}, {"a": "1", "b": 11}, {"a": ENV, "b": 11}),
    ],
)
def test_kept_values(written: Any, value: Any, kept: Any) -> None:
    assert kept_values(value, written) == kept
