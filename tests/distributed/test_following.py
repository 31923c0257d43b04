from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import StartForked

pytestmark = pytest.mark.distributed


def test_each_rank_compares_its_part_of_the_steps_after_a_resume(
    on_ranks: StartForked, tmp_path: Path
) -> None:
    ended = on_ranks("following.py", tmp_path)
    assert ended.exit_code == 0, str(ended)
    assert min(ended.claimed("noted")) >= 3
    assert ended.claimed("honest") == [[], []]
    for [[said]] in ended.claimed("replaced"):
        assert "other contents" in said
