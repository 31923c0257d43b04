"""Ranks that no longer train one model on one set of data: found and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import StartForked

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("strategy", "ranks"), [("ddp", 2), pytest.param("fsdp", 3, marks=pytest.mark.slow)]
)
def test_what_is_planted_on_one_rank_ends_the_run_on_all_by_its_name(
    on_ranks: StartForked, tmp_path: Path, strategy: str, ranks: int
) -> None:
    # Shards have no replicas: with FSDP, no weight is there twice.
    planted = ["nothing", "rate", "option", "sample", "flag", "buffer", "content"]
    planted += ["weight"] if strategy == "ddp" else []

    run = on_ranks("agreeing_ranks.py", tmp_path, strategy, *planted, ranks=ranks)

    assert (run.exit_code, run.hung) == (0, False), run
    for what in planted:
        claims = run.claimed(f"{what} 0")
        texts = [text for text, *_ in claims]
        _, named, rank, _, _ = claims[0]
        if what == "nothing":
            assert set(texts) == {""}
            continue
        if what == "flag":  # refused on its rank before a collective; the others hear of it
            assert all(named in text for text in texts), run
            continue
        assert len(set(texts)) == 1, texts
        on = f"rank {rank}" if rank else "rank"
        assert f"{named}" in texts[0], run
        assert f"differs on {on}" in texts[0]
