"""Each command that takes a run takes its address, or says how to bring the run here."""

from __future__ import annotations

import pytest

from trackside.cli import main

ADDRESS = "memory://bucket/nothing"
NO_RUN = f"there is no run in {ADDRESS}"
LISTED = f"no runs in {ADDRESS}"
DOWNLOAD = f"trackside download {ADDRESS} FOLDER"

# By command: what is typed after it, and what it says of an address where nothing lies.
SAYS = {
    "ask": ([ADDRESS, "stop"], DOWNLOAD),
    "blame": ([ADDRESS, "--step", "1"], DOWNLOAD),
    "download": ([ADDRESS, "copy"], NO_RUN),
    "evaluate": ([ADDRESS], NO_RUN),
    "gc": ([ADDRESS], DOWNLOAD),
    "init": ([ADDRESS], DOWNLOAD),
    "inspect": ([ADDRESS], DOWNLOAD),
    "observe": ([ADDRESS, "CSVLogger"], DOWNLOAD),
    "plan": ([ADDRESS], DOWNLOAD),
    "predict": ([ADDRESS, "test"], NO_RUN),
    "replay": ([ADDRESS, "--step", "1"], DOWNLOAD),
    "report": ([ADDRESS], DOWNLOAD),
    "resume": ([ADDRESS], NO_RUN),
    "runs": ([ADDRESS], LISTED),
    "sweep": ([ADDRESS, "optimizer.lr=log(1e-3, 1e-1)"], DOWNLOAD),
    "train": ([ADDRESS], DOWNLOAD),
    "upload": ([ADDRESS], DOWNLOAD),
    "verify": ([ADDRESS], DOWNLOAD),
    "why": ([ADDRESS], DOWNLOAD),
}
WITHOUT_A_PLACE = {"callbacks", "schema"}


def test_all_commands_are_here() -> None:
    named = {one.name or one.callback.__name__ for one in main.app.registered_commands}  # type: ignore[union-attr]
    assert named == SAYS.keys() | WITHOUT_A_PLACE


@pytest.mark.parametrize("command", SAYS)
def test_it_takes_an_address_or_says_how_to_bring_the_run_here(
    command: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(str(tmp_path))
    arguments, says = SAYS[command]
    code = main.run([command, *arguments])
    printed = capsys.readouterr()
    assert " ".join(says.split()) in " ".join((printed.out + printed.err).split())
    assert code == (0 if says == LISTED else 2)
