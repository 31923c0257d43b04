"""The table of `make compat`, and the package in an environment of its own."""

from __future__ import annotations

from tests.installing import needed
from tests.quick_suite import Counts
from tests.versions import Result, Version


def test_a_version_is_torch_s_and_python_s() -> None:
    assert Version.parse("2.8.0@3.12") == Version("2.8.0", "3.12")


def test_a_row_says_whether_the_package_installs_and_how_tests_ended() -> None:
    found = Result(Version("2.8.0", "3.12"), False, Counts(10, 2, 1, "2026-01-02"))
    assert found.row == "| 2.8.0 | 3.12 | no | 10 | 2 | 1 | 2026-01-02 |\n"


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
