"""A value from the environment is used, and is in no file of the run and in no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import good, write
from trackside import Callback, Run
from trackside.cli.main import run

SECRET = "hunter2-and-more"
KEY = "${oc.env:KEY_OF_SERVICE}"


class Uses(Callback):
    """Takes a key, and may say it in an error."""

    def __init__(self, key: str, says_it: bool = False) -> None:
        self.key = key
        self.says_it = says_it

    def on_step_end(self, run: Run) -> None:
        assert self.key == SECRET
        run.stop("seen with " + repr(self))
        if self.says_it:
            raise ValueError(f"no service for {self.key}")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_SERVICE", SECRET)
    monkeypatch.setattr("trackside.errors._secrets", {})


def nowhere(folder: Path, told: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in told


@pytest.mark.parametrize(("says_it", "code"), [("false", 0), ("true", 1)])
def test_it_is_in_no_file_and_no_message(
    says_it: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = f"""\
callbacks:
  uses: {{kind: {__name__}.Uses, key: "{KEY}", says_it: {says_it}}}
  config: {{kind: ConfigLogger, show: true}}
  checkpoint: {{kind: Checkpoint}}
  result: {{kind: TrainerSummary}}
  provenance: {{kind: Provenance}}
  history: {{kind: JSONLinesLogger}}
"""
    write(good(more=callbacks))

    assert run(["train", "run.yaml"]) == code
    captured = capsys.readouterr()
    nowhere(Path("run"), captured.out + captured.err)
    assert KEY in captured.out + captured.err


@pytest.mark.parametrize(
    "override",
    [
        f"callbacks.n={{kind: Notify, url: '{KEY}'}}",
        f"callbacks.n={{kind: '{KEY}'}}",
        f"trainer.epochs={KEY}",
        f"trainer.clip={KEY}",
        f"optimizer.kind={KEY}",
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_being_shown(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(good())

    assert run(["train", "run.yaml", override]) == 2
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
