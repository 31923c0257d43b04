"""`trackside runs` lists every run of a folder, with what is known of it, whatever lies there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trackside.cli.main import run
from trackside.config.experiment.kept import runs_in
from trackside.errors import UsageError, printable

GOOD = {"status": "completed", "reason": "2 epochs", "step": 8, "seconds": 1.5, "best": {}}


def says(**changes: Any) -> Callable[[Path], object]:
    """An outcome that was edited."""
    text = json.dumps({**GOOD, **changes})
    return lambda folder: (folder / "outcome.json").write_text(text)


def writes(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def giant(folder: Path) -> None:
    with (folder / "outcome.json").open("wb") as file:
        file.truncate(2**40)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda folder: os.mkfifo(folder / "outcome.json"), "not a plain file"),
    "a giant": (giant, "more than"),
    "a folder": (lambda folder: (folder / "outcome.json").mkdir(), "can't be read"),
    "a link": (lambda folder: (folder / "outcome.json").symlink_to("/dev/zero"), "can't be read"),
    "no JSON": (writes("outcome.json", b"{"), "outcome.json is not JSON"),
    "no text": (writes("outcome.json", b"\xff\xfe"), "outcome.json is not JSON"),
    "a list": (writes("outcome.json", b"[]"), "holds no JSON object"),
    "nested": (writes("outcome.json", b"[" * 100_000), "outcome.json is not JSON"),
    "a broken environment": (writes("environment.json", b"{"), "environment.json is not JSON"),
    "a started that is a list": (writes("environment.json", b'{"started": []}'), ""),
    "a broken configuration": (writes("config.yaml", b"{: ["), ""),
    "no status": (says(status=None), "names no status"),
    "an unknown status": (says(status="\x1b[31m"), "names no status"),
    "a status that is a list": (says(status=[]), "names no status"),
    "a reason that is a number": (says(reason=1), ""),
    "a step that is a text": (says(step="8"), ""),
    "an endless duration": (says(seconds=float("inf")), ""),
    "a huge step": (says(step=10**400), ""),
    "a huge duration": (says(seconds=10**400), ""),
    "best that is a list": (says(best=[1]), ""),
    "best without values": (says(best={"a": 1, "b": {}, "c": {"value": None}}), ""),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_run_is_listed_beside_the_good_ones(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, problem = ODD[kind]
    for name in ("good", "odd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    says()(tmp_path / "good")
    edit(tmp_path / "odd")

    assert run(["runs", str(tmp_path)]) == 0

    good, odd = sorted(runs_in(tmp_path), key=lambda one: str(one.folder))
    assert (good.status, good.step, good.problem) == ("completed", 8, "")
    assert problem in odd.problem
    assert bool(problem) == bool(odd.problem)
    told = capsys.readouterr().out
    assert str(good.folder) in told
    assert str(odd.folder) in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"a\x1b[2J", r"a\x1b[2J"), (b"a\nb", r"a\nb"), (b"a\xff", r"a\udcff"), (b"a\tb", r"a\tb")],
)
def test_a_name_is_shown_in_one_line_that_no_terminal_obeys(
    tmp_path: Path, name: bytes, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / "config.yaml").write_text("")

    assert run(["runs", str(tmp_path)]) == 0

    assert f"{tmp_path}/{shown} " in capsys.readouterr().out


def test_a_refusal_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: object) -> None:
        raise UsageError("no \x1b[2J run")

    monkeypatch.setattr("trackside.config.experiment.remotely.runs_in", refuse)
    run(["runs"])
    assert capsys.readouterr().err == "no \\x1b[2J run\n"


def test_bytes_that_are_no_text_are_shown() -> None:
    assert printable("a\udcff") == r"a\udcff"
