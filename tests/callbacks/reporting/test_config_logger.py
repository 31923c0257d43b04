from __future__ import annotations

import io
import json
from pathlib import Path

from trackside.callbacks.reporting.config_logger import ConfigLogger
from trackside.testing import ScriptedRun


def play(folder: Path, seed: int, logger: ConfigLogger | None = None) -> None:
    run = ScriptedRun(logger or ConfigLogger(), directory=folder)
    run.config = {"seed": seed, "data": {"batch_size": 32}}
    run.play([])


def test_configuration_callbacks_and_versions_are_written(tmp_path: Path) -> None:
    play(tmp_path, 7)

    written = json.loads((tmp_path / "config.json").read_text())
    assert written["config"] == {"seed": 7, "data": {"batch_size": 32}}
    assert written["callbacks"] == {"config_logger": "ConfigLogger()"}
    assert set(written["versions"]) == {"trackside", "torch", "python"}


def test_the_same_configuration_is_left_as_it_is(tmp_path: Path) -> None:
    play(tmp_path, 7)
    play(tmp_path, 7)

    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_changed_configuration_sets_the_older_aside(tmp_path: Path) -> None:
    play(tmp_path, 7)
    play(tmp_path, 8)

    assert json.loads((tmp_path / "config.1.json").read_text())["config"]["seed"] == 7
    assert json.loads((tmp_path / "config.json").read_text())["config"]["seed"] == 8


def test_it_is_printed_when_asked_for(tmp_path: Path, plain: io.StringIO) -> None:
    play(tmp_path, 7, ConfigLogger(show=True))

    assert plain.getvalue() == "seed: 7\ndata/batch_size: 32\n"
