"""Parts of a step are compiled once for each form of their arguments; failures are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trackside.errors import UsageError
from trackside.step import compiling
from trackside.step.compiling import CompiledPart, lacks_compiler
from trackside.step.forms import form_of

pytestmark = pytest.mark.not_standin("torch.compile")


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Trackside has logged: torch's compiler logs, too."""
    return [one.getMessage() for one in caplog.records if one.name == "trackside"]


def test_each_form_is_compiled_once_in_whatever_order_they_come() -> None:
    def twice(x: Tensor) -> Tensor:
        return x * 2

    part = CompiledPart("doubling", twice)
    for length in (3, 2, 3, 2, 4, 3):
        x = torch.ones(length)
        assert part(form_of(x), x).sum() == 2 * length
    assert part.compilations == 3


def test_the_time_of_a_compilation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def doubled(x: Tensor) -> Tensor:
        return x * 2

    caplog.set_level("INFO", "trackside")
    seconds: list[float] = []
    part = CompiledPart("doubling", doubled, note=seconds.append)
    for _ in range(2):
        part(None, torch.ones(1))
    (line,) = told(caplog)
    assert line == f"doubling was compiled in {seconds[0]:.1f} s"
    assert [part.seconds] == seconds


def test_what_can_t_be_compiled_is_told_with_its_line_and_computed_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reads(x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 1 else x * 3

    part = CompiledPart("reading", reads)
    for _ in range(2):
        assert part(None, torch.ones(2)).tolist() == [2, 2]
    assert part.seconds > 0
    (line,) = told(caplog)
    assert "reading can't be compiled, and is computed without" in line
    assert "x.sum().item() > 1" in line


def test_an_error_of_the_function_itself_is_raised() -> None:
    def wrong(x: Tensor) -> Tensor:
        return x @ torch.ones(5, 5)

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        CompiledPart("multiplying", wrong)(None, torch.ones(2, 2))


def test_what_changes_in_every_step_is_refused() -> None:
    counted: dict[str, int] = {"calls": 0}

    def counts(x: Tensor) -> Tensor:
        return x + counted["calls"]

    part = CompiledPart("counting", counts)

    def call_often() -> None:
        for number in range(20):
            counted["calls"] = number
            part(None, torch.ones(1))

    with pytest.raises(UsageError, match="counting is compiled again and again"):
        call_often()


def test_many_shapes_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def halved(x: Tensor) -> Tensor:
        return x / 2

    part = CompiledPart("halving", halved)
    for length in range(1, 12):
        part(length, torch.ones(length))
    (line,) = told(caplog)
    assert line.startswith("halving has been compiled for 8 shapes of batches")


def test_a_machine_without_a_compiler_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def nothing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", nothing)
    assert "no C++ compiler" in str(lacks_compiler())


def test_an_older_torch_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "tracing", object())
    assert "torch 2.11 or later can" in str(lacks_compiler())


def test_dropout_draws_as_without_a_compiler() -> None:
    options: dict[str, Any] = compiling.OPTIONS
    assert options["fallback_random"] is True
