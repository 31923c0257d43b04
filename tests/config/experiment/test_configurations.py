from __future__ import annotations

from pathlib import Path

import pytest

from trackside.config.experiment.configurations import configuration, configurations
from trackside.errors import UsageError


def test_a_secret_of_the_environment_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("callbacks:\n  wandb: {key: '${oc.env:KEY}'}\n")
    assert configuration(tmp_path) == {"callbacks": {"wandb": {"key": "${oc.env:KEY}"}}}


@pytest.mark.parametrize("text", ["[", "a: *b", "- 1", "", "\x00", "a: 1\na: 2"])
def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert configuration(tmp_path)["config.yaml"].startswith("can't be read: ")


def test_a_folder_of_runs_gives_each_and_a_run_itself_alone(tmp_path: Path) -> None:
    for name in ("a", "a/inner", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text('{"seed": 1}')
    assert set(configurations([tmp_path])) == {tmp_path / n for n in ("a", "a/inner", "b")}
    assert set(configurations([tmp_path / "a"])) == {tmp_path / "a"}


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in"):
        configurations([tmp_path / "nothing"])
