"""Results of the quick suite are counted by test, put together after a mend, and kept in a page."""

from __future__ import annotations

from tests.quick_suite import HEAD, MARK, cases, counted, line, node, with_outcomes, with_rows

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


def test_failures_and_errors_count_as_failed_and_a_test_counts_once() -> None:
    found = counted(REPORT)
    assert (found.passed, found.failed, found.skipped) == (1, 3, 1)


def test_a_result_has_the_day_of_its_whole_run() -> None:
    again = AGAIN.replace("2026-01-02", "2026-03-04")
    assert counted(with_outcomes(REPORT, again)).date == "2026-01-01"


def test_a_test_of_a_report_can_be_run_by_its_name() -> None:
    assert node(cases(REPORT)[1]) == "tests/test_run.py::test_b[x]"


def test_what_was_run_again_counts_by_its_new_outcome_and_all_else_by_its_former() -> None:
    found = counted(with_outcomes(REPORT, AGAIN))
    assert (found.passed, found.failed, found.skipped) == (3, 1, 1)


# --- tables --------------------------------------------------------------------------------------

PAGE = f"# Devices\n\n{MARK}\n\n{HEAD}| cpu | old |\n\nMore text | with a bar.\n"


def test_a_row_takes_the_place_of_the_one_for_the_same() -> None:
    page = with_rows(PAGE, MARK, HEAD, {("cpu",): line(("cpu", "new"))})
    assert page == PAGE.replace("old", "new")


def test_a_row_for_something_else_joins_the_others() -> None:
    page = with_rows(PAGE, MARK, HEAD, {("standin",): line(("standin", 1))})
    assert page == PAGE.replace("| cpu | old |\n", "| cpu | old |\n| standin | 1 |\n")


def test_newer_versions_come_first_and_numbers_are_compared_as_numbers() -> None:
    keys = [("2.8.0", "3.11"), ("2.11.0", "3.9"), ("2.11.0", "3.12")]
    page = f"{MARK}\n\n{HEAD}"
    for key in keys:
        page = with_rows(page, MARK, HEAD, {key: line(key)})
    found = page.removeprefix(f"{MARK}\n\n{HEAD}")
    assert found == "| 2.11.0 | 3.12 |\n| 2.11.0 | 3.9 |\n| 2.8.0 | 3.11 |\n"
