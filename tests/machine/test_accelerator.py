"""What differs between devices is asked of torch in one way; the table of versions is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.versions import (
    HEAD,
    Result,
    Version,
    cases,
    counted,
    node,
    with_outcomes,
    with_results,
)
from trackside.errors import ConfigurationError
from trackside.machine import accelerator, randomness

GPU = torch.device("cuda")


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The generators of a machine with two accelerators."""
    states = {"now": [torch.tensor([1]), torch.tensor([2])]}
    module = SimpleNamespace(
        get_rng_state_all=lambda: states["now"],
        set_rng_state_all=lambda given: states.update(now=given),
    )
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: GPU)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    return states


@pytest.mark.cpu("a machine without an accelerator")
def test_a_machine_without_an_accelerator_has_none() -> None:
    assert accelerator.accelerator() is None


def test_the_generators_of_all_devices_are_captured_and_put_back(devices: dict[str, Any]) -> None:
    state = randomness.capture()
    devices["now"] = [torch.tensor([8]), torch.tensor([9])]

    randomness.restore(state)

    assert [int(one) for one in devices["now"]] == [1, 2]


def test_generators_of_a_device_that_this_machine_lacks_are_left_alone(
    devices: dict[str, Any],
) -> None:
    state = {**randomness.capture(), "xpu": [torch.tensor([7])]}
    del state["cuda"]

    randomness.restore(state)

    assert [int(one) for one in devices["now"]] == [1, 2]


def test_a_kind_with_one_generator_is_asked_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [torch.tensor([3])]
    module = SimpleNamespace(get_rng_state=lambda: held[0], set_rng_state=held.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)

    states = accelerator.generator_states(torch.device("mps"))
    accelerator.set_generator_states(torch.device("mps"), states)

    assert [int(one) for one in held] == [3, 3]


def test_several_processes_are_refused_where_torch_can_not_watch_them() -> None:
    with pytest.raises(ConfigurationError, match="several processes can't be watched"):
        accelerator.second_connection(object())


# --- the table of `make compat` ----------------------------------------------------------------


PAGE = f"# Versions\n\n<!-- results -->\n\n{HEAD}"
REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_run" name="test_a"/>
<testcase classname="tests.test_run" name="test_b[x]"><failure/></testcase>
<testcase classname="tests.loop.test_fit" name="test_c"><error/></testcase>
<testcase classname="tests.loop.test_fit" name="test_d"><skipped/></testcase>
<testcase classname="tests.loop.test_fit" name="test_e"/>
<testcase classname="tests.loop.test_fit" name="test_e"><error/></testcase>
</testsuite></testsuites>"""
AGAIN = """<testsuites><testsuite>
<testcase classname="tests.test_run" name="test_b[x]"/>
<testcase classname="tests.loop.test_fit" name="test_c"><failure/></testcase>
<testcase classname="tests.loop.test_fit" name="test_e"/>
</testsuite></testsuites>"""


def result(torch: str, failed: int) -> Result:
    return Result(Version.parse(torch), 10, failed, 0, "2026-01-02")


def rows(page: str) -> list[str]:
    return [line.rsplit("|", 2)[0] for line in page.splitlines()[6:]]


def test_a_version_is_torch_s_and_python_s() -> None:
    assert Version.parse("2.8.0@3.12") == Version("2.8.0", "3.12")


def test_failures_and_errors_count_as_failed_and_a_test_counts_once() -> None:
    found = counted(Version.parse("2.8.0@3.12"), REPORT)
    assert (found.passed, found.failed, found.skipped) == (1, 3, 1)


def test_a_test_of_a_report_can_be_run_by_its_name() -> None:
    assert node(cases(REPORT)[1]) == "tests/test_run.py::test_b[x]"


def test_what_was_run_again_counts_by_its_new_outcome_and_all_else_by_its_former() -> None:
    found = counted(Version.parse("2.8.0@3.12"), with_outcomes(REPORT, AGAIN))
    assert (found.passed, found.failed, found.skipped) == (3, 1, 1)


def test_newer_versions_come_first_and_numbers_are_compared_as_numbers() -> None:
    page = with_results(PAGE, [result("2.8.0@3.11", 0), result("2.11.0@3.9", 0)])
    page = with_results(page, [result("2.11.0@3.12", 0)])
    assert rows(page) == [
        "| 2.11.0 | 3.12 | 10 | 0 | 0 ",
        "| 2.11.0 | 3.9 | 10 | 0 | 0 ",
        "| 2.8.0 | 3.11 | 10 | 0 | 0 ",
    ]


def test_a_version_that_was_run_again_has_the_new_result() -> None:
    page = with_results(with_results(PAGE, [result("2.8.0@3.11", 3)]), [result("2.8.0@3.11", 0)])
    assert rows(page) == ["| 2.8.0 | 3.11 | 10 | 0 | 0 "]
