"""The breaks that are tried one by one can be made: what they break is there, once."""

from __future__ import annotations

import pytest

from tests.dialects.host_mutants import Mutant
from tests.dialects.mutants import ALL, MUTANTS, PACKAGE, PAGE, ROOT, broken, page


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.promise)
def test_a_break_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / PACKAGE / mutant.file).read_text()

    compile(broken(text, mutant), mutant.file, "exec")


def test_each_promise_has_a_break() -> None:
    assert {mutant.promise for mutant in MUTANTS} == {line.number for line in ALL}


def test_the_page_has_all_breaks() -> None:
    assert page() == PAGE.read_text(), "run python -m tests.dialects.mutants --page"
