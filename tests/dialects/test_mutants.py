"""The breaks that are tried one by one can be made: what they break is there, once."""

from __future__ import annotations

import pytest

from tests.dialects.mutants import MUTANTS, PACKAGE, ROOT, Mutant, broken
from tests.dialects.proof import PROMISES, lines


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.promise)
def test_a_break_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / PACKAGE / mutant.file).read_text()

    compile(broken(text, mutant), mutant.file, "exec")


def test_each_break_belongs_to_a_promise() -> None:
    assert {mutant.promise for mutant in MUTANTS} <= {line.number for line in lines(PROMISES)}
