from __future__ import annotations

import pytest

from trackside.errors import ConfigurationError
from trackside.search.space import Dimension, override, parse, space_of


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("range(0, 0.5)", Dimension("x", "range", (0.0, 0.5))),
        ("log(1e-4, 1e-1)", Dimension("x", "log", (1e-4, 1e-1), logarithmic=True)),
        ("int(1, 8)", Dimension("x", "int", (1, 8))),
        ("int(16, 256, log)", Dimension("x", "int", (16, 256), logarithmic=True)),
        ("choice(adamw, 16, true, null)", Dimension("x", "choice", ("adamw", 16, True, None))),
    ],
)
def test_a_range_is_read_and_written_alike(text: str, dimension: Dimension) -> None:
    assert parse("x", text) == dimension
    assert parse("x", str(dimension)) == dimension


@pytest.mark.parametrize(
    "text",
    [
        "range(1)",
        "range(a, b)",
        "range(2, 1)",
        "log(0, 1)",
        "int(1, 2.5)",
        "int(true, 3)",
        "choice(a)",
        "choice(a, a)",
        "choice([1], 2)",
        "range(0, .inf)",
    ],
)
def test_a_range_that_does_not_fit_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"optimizer\.lr") as caught:
        parse("optimizer.lr", text)

    assert caught.value.option == "optimizer.lr"


def test_ranges_are_found_wherever_they_stand() -> None:
    written = {"optimizer": {"lr": "log(1e-3, 1)"}, "layers": [{"width": "int(1, 2)"}], "a": "b(1)"}

    assert [one.key for one in space_of(written)] == ["optimizer.lr", "layers.0.width"]


def test_a_file_without_a_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing to search"):
        space_of({"optimizer": {"lr": 0.1}})


def test_a_value_is_an_override_that_yaml_reads_back() -> None:
    assert override("a.b", 1e-05) == "a.b=1e-05"
    assert override("a.b", "x, y: z") == 'a.b="x, y: z"'
