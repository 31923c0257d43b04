"""Ranks of a sweep: command lines that are passed on, or refused; whose error it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.search.small_search import FILE
from trackside.cli import sweep as command
from trackside.cli.main import run
from trackside.search import ranks


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of a small sweep."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "small.yaml").write_text(FILE)
    folder = str(tmp_path / "sweep")
    return ["sweep", str(tmp_path / "small.yaml"), "trainer.epochs=1", "--folder", folder]


def test_each_of_several_ranks_gets_the_command_line_that_was_given(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    monkeypatch.setattr(command, "launch", lambda *given: launched.append(given))

    run([*asked, "--ranks", "2", "--trials", "7", "--prune", "--seed", "3", "--json"])

    [(line, ranks_asked, restarts)] = launched
    assert (ranks_asked, restarts) == (2, 0)
    assert line[:3] == asked[:3]
    options = ["--trials", "7", "--monitor", "val/loss", "--mode", "min", "--seed", "3", "--folder"]
    assert line[3:] == [*options, asked[-1], "--prune", "--json"]


@pytest.mark.parametrize(
    ("options", "launched", "way"),
    [
        (["--ranks", "2", "--processes", "2"], None, "leave out --processes"),
        (["--processes", "2"], 2, "leave out --processes"),
        (["--ranks", "2"], 2, "leave out --ranks"),
    ],
)
def test_two_ways_to_use_several_processes_are_refused_with_one_that_works(
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    launched: int | None,
    way: str,
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if launched else ():
        monkeypatch.setenv(name, str(launched) if name == "WORLD_SIZE" else "0")

    assert run([*asked, *options]) == 2
    assert way in capsys.readouterr().err
    assert not Path(asked[-1]).exists()


def test_the_error_of_a_trial_is_that_of_the_rank_on_which_it_arose() -> None:
    told: list[tuple[str, bool] | None] = [("PeerFailed: rank 0 ends", True), None]

    assert ranks._first([*told, ("ValueError: broken", False)]) == "rank 2: ValueError: broken"
    assert ranks._first(told) == "rank 0: PeerFailed: rank 0 ends"
    assert ranks._first([None, None]) is None
