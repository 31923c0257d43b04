from __future__ import annotations

from collections.abc import Sequence

import pytest

from trackside.checkpoint.lineage import Return, left_behind


@pytest.mark.parametrize(
    ("returns", "left"),
    [
        ([], set()),
        ([(1, 3)], {2, 3}),
        ([(0, 3)], {1, 2, 3}),  # to a checkpoint in another folder
        ([(1, 3), (4, 5)], {2, 3, 5}),  # twice, each time in what it saved since
        ([(1, 3), (1, 5)], {2, 3, 4, 5}),  # twice to the same
        ([(3, 5), (2, 6)], {3, 4, 5, 6}),  # then to before the first return
        ([(1, 3), (3, 5)], {4, 5}),  # to one that had been left behind, and counts again
        ([(1, 2), (2, 2)], set()),  # the same, with nothing saved between
    ],
)
def test_saves_between_a_return_and_its_origin_are_left_behind(
    returns: Sequence[tuple[int, int]], left: set[int]
) -> None:
    assert left_behind(range(1, 7), [Return(*one) for one in returns]) == left


def test_a_return_says_nothing_of_saves_after_it() -> None:
    assert left_behind([3, 4, 5], [Return(to=1, after=3)]) == {3}
