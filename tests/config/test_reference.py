from __future__ import annotations

from typing import Any

import pytest

from trackside.callbacks.averaging.ema import EMA
from trackside.config.reference import reference_of, sections_of, written, yaml_of
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.schedule import Every


class Sounding(Callback[Run]):
    """Sounds the depth.

    With a line, and a lead.

    Args:
        every: When.
        timeout_seconds: Patience.
        label: A word.

    Raises:
        ValueError: No line.

    Example:
        >>> Sounding(
        ...     label="x"
        ... )
        Sounding('x')

    Bowditch, 1802.
    """

    runs_after = (EMA, "early_stopping", "other")
    on_error = "warn"
    logs = ("depth/*",)

    def __init__(
        self,
        label: str,
        *,
        every: Every | str = "1 epoch",
        timeout_seconds: float = 2.0,
        marks: tuple[int, ...] = (2, 3),
    ) -> None: ...

    def on_step_end(self, run: Run) -> None: ...

    def on_epoch_start(self, run: Run) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"depth": 1}


def test_a_reference_is_read_from_class_and_docstring() -> None:
    found = reference_of("my.Sounding", Sounding)

    assert (found.summary, found.text) == ("Sounds the depth.", "With a line, and a lead.")
    assert (found.raises, found.sources) == ("ValueError: No line.", "Bowditch, 1802.")
    assert found.hooks == ("on_epoch_start", "on_step_end")
    assert found.runs_after == ("EMA", "EarlyStopping", "other")
    assert (found.on_error, found.has_state, found.logs) == ("warn", True, ("depth/*",))
    assert found.python == 'Sounding(\n    label="x"\n)'
    assert found.yaml == "callbacks:\n  Sounding:\n    kind: my.Sounding\n    label: x"


def test_options_have_type_unit_and_default_as_in_a_file() -> None:
    options = {one.name: one for one in reference_of("s", Sounding).options}

    assert (options["label"].kind, options["label"].default) == ("text", None)
    assert options["timeout_seconds"].kind == "a number, in seconds"
    assert options["every"].default == "1 epoch"
    assert options["every"].kind.startswith("a schedule such as")
    assert options["marks"].default == "[2, 3]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("x", "x"), ("", "''"), (1e-7, "1.0e-07"), ({}, "{}")],
)
def test_a_default_is_written_as_a_file_says_it(value: object, text: str) -> None:
    assert written(value) == text


def test_what_is_no_plain_value_has_no_place_in_a_file() -> None:
    assert yaml_of("Ema(decay(3))", "ema", ["decay"]) == ""
    assert yaml_of("not python(", "ema", []) == ""
    assert yaml_of("Ema([0.9], start='1 epoch')", "ema", ["decay"]).endswith(
        "  ema:\n    decay:\n    - 0.9\n    start: 1 epoch"
    )


def test_an_unindented_line_ends_a_section() -> None:
    found = sections_of("One.\n\nArgs:\n    x: An x.\n        Long.\n\nSee also.\n")

    assert found == {"text": "One.", "Args": "x: An x.\n    Long.", "sources": "See also."}
