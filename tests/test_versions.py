"""The table of `make compat` is kept, and the package is installed beside a torch alone."""

from __future__ import annotations

from tests.installing import needed
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

PAGE = f"# Versions\n\n<!-- results -->\n\n{HEAD}"
REPORT = """<testsuites><testsuite timestamp="2026-01-02T01:00:00+02:00">
<testcase classname="tests.test_run" name="test_a"/>
<testcase classname="tests.test_run" name="test_b[x]"><failure/></testcase>
<testcase classname="tests.loop.test_fit" name="test_c"><error/></testcase>
<testcase classname="tests.loop.test_fit" name="test_d"><skipped/></testcase>
<testcase classname="tests.loop.test_fit" name="test_e"/>
<testcase classname="tests.loop.test_fit" name="test_e"><error/></testcase>
</testsuite></testsuites>"""
AGAIN = """<testsuites><testsuite timestamp="2026-01-02T01:00:00+02:00">
<testcase classname="tests.test_run" name="test_b[x]"/>
<testcase classname="tests.loop.test_fit" name="test_c"><failure/></testcase>
<testcase classname="tests.loop.test_fit" name="test_e"/>
</testsuite></testsuites>"""


def result(torch: str, failed: int) -> Result:
    return Result(Version.parse(torch), True, 10, failed, 0, "2026-01-02")


def rows(page: str) -> list[str]:
    return [line.rsplit("|", 2)[0] for line in page.splitlines()[6:]]


def test_a_version_is_torch_s_and_python_s() -> None:
    assert Version.parse("2.8.0@3.12") == Version("2.8.0", "3.12")


def test_failures_and_errors_count_as_failed_and_a_test_counts_once() -> None:
    found = counted(Version.parse("2.8.0@3.12"), REPORT, installs=True)
    assert (found.passed, found.failed, found.skipped) == (1, 3, 1)


def test_a_result_has_the_day_of_its_whole_run() -> None:
    assert counted(Version.parse("2.8.0"), with_outcomes(REPORT, AGAIN), True).date == "2026-01-01"


def test_a_test_of_a_report_can_be_run_by_its_name() -> None:
    assert node(cases(REPORT)[1]) == "tests/test_run.py::test_b[x]"


def test_what_was_run_again_counts_by_its_new_outcome_and_all_else_by_its_former() -> None:
    found = counted(Version.parse("2.8.0@3.12"), with_outcomes(REPORT, AGAIN), installs=True)
    assert (found.passed, found.failed, found.skipped) == (3, 1, 1)


def test_newer_versions_come_first_and_numbers_are_compared_as_numbers() -> None:
    page = with_results(PAGE, [result("2.8.0@3.11", 0), result("2.11.0@3.9", 0)])
    page = with_results(page, [result("2.11.0@3.12", 0)])
    assert rows(page) == [
        "| 2.11.0 | 3.12 | yes | 10 | 0 | 0 ",
        "| 2.11.0 | 3.9 | yes | 10 | 0 | 0 ",
        "| 2.8.0 | 3.11 | yes | 10 | 0 | 0 ",
    ]


def test_a_version_that_was_run_again_has_the_new_result() -> None:
    page = with_results(with_results(PAGE, [result("2.8.0@3.11", 3)]), [result("2.8.0@3.11", 0)])
    assert rows(page) == ["| 2.8.0 | 3.11 | yes | 10 | 0 | 0 "]


# --- the package in an environment of its own --------------------------------------------------


def test_what_a_package_needs_is_found_through_others_and_without_its_extras() -> None:
    requirements = {
        "torch": [
            "typing_extensions>=4",
            "Jinja2",
            "triton; platform_system=='Linux'",
            "numpy; extra == 'all'",
        ],
        "typing-extensions": [],
        "jinja2": ["markupsafe[fast]>=2", "torch"],
        "MarkupSafe": [],
        "numpy": [],
    }
    assert needed("torch", requirements) == ["jinja2", "markupsafe", "torch", "typing-extensions"]
