"""Every option that holds a path, found by walking callbacks, settings, files, functions."""

from __future__ import annotations

import contextlib
import inspect as inspection
import os
from pathlib import Path
from typing import Any

import pytest

from trackside import Settings, checkpoint
from trackside.config import load
from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.options import Option, options_of
from trackside.config.checking.path_values import local_value
from trackside.config.experiment import inbox, kept
from trackside.errors import ConfigurationError, TracksideError
from trackside.planning import checks

NAMES = {"file", "folder", "path", "directory", "root", "output"}
ENDINGS = {
    "SaveWeights": ".safetensors",
    "ExportModel": ".pt2",
    "PlotHistory": ".png",
    "Report": ".html",
}
CONFINED = {"SaveWeights", "ExportModel", "PlotHistory"}
"""Callbacks whose file must lie below the run's folder: a home folder is refused, not made."""


def _holds_a_path(option: Option) -> bool:
    is_list = option.name == "command"  # words of a command line, which may be paths
    return option.name in NAMES or ("Path" in str(option.hint) and not is_list)


def _options() -> list[tuple[Any, str]]:
    classes = [CALLBACKS.resolve(name) for name in builtin_callbacks()]
    return [
        (one, option.name)
        for one in classes
        for option in options_of(one).table.values()
        if _holds_a_path(option)
    ]


OPTIONS = _options()


def _made(one: type, option: str, written: str) -> Any:
    return one(**{option: written + ENDINGS.get(one.__name__, "")})


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_walk_finds_the_options() -> None:
    assert len(OPTIONS) >= 11


@pytest.mark.parametrize(("one", "option"), OPTIONS, ids=lambda value: str(value))
def test_callbacks_expand_a_home_folder(one: type, option: str, tmp_path: Path) -> None:
    if one.__name__ in CONFINED:
        with pytest.raises(ConfigurationError, match="a name"):
            _made(one, option, "~/there")
    else:
        if one.__name__ == "Artifacts":  # refuses a folder that isn't there
            (tmp_path / "home/there").mkdir(parents=True)
        ending = ENDINGS.get(one.__name__, "")
        expanded = tmp_path / f"home/there{ending}"
        assert Path(vars(_made(one, option, "~/there"))[option]) == expanded


@pytest.mark.parametrize(("one", "option"), OPTIONS, ids=lambda value: str(value))
def test_callbacks_refuse_an_address(one: type, option: str) -> None:
    with pytest.raises(ConfigurationError, match="is an address"):
        _made(one, option, "s3://bucket/there")


def _pass_to(function: Any, *arguments: Any, **keywords: Any) -> Any:
    return lambda written: function(
        *(a if a is not ... else written for a in arguments), **keywords
    )


TAKERS = {
    "Settings": lambda written: Settings(directory="memory://bucket/run", mirror=written),
    "planning": checks.directory,
    "open_checkpoint": checkpoint.open_checkpoint,
    "verify": checkpoint.verify,
    "load": checkpoint.load,
    "candidates": checkpoint.candidates,
    "newest_valid": checkpoint.newest_valid,
    "CheckpointWriter": _pass_to(checkpoint.CheckpointWriter, ..., "run"),
    "load_kept": kept.load_kept,
    "runs_in": kept.runs_in,
    "ask": _pass_to(inbox.ask, ..., inbox.Command("stop")),
    "load a file": load,
}


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_whatever_takes_a_path_refuses_an_address(taker: Any) -> None:
    with pytest.raises(TracksideError, match="is an address"):
        taker("s3://bucket/there")
    assert os.listdir() == []


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_nobody_makes_a_folder_named_like_a_home_folder(taker: Any) -> None:
    with contextlib.suppress(TracksideError, OSError):  # there is nothing to read at home
        taker("~/there")
    assert not Path("~").exists()


@pytest.mark.parametrize(
    ("hint", "written", "meant"),
    [
        (Path, Path("~/data"), "home/data"),
        (str | Path, "~/data", "home/data"),
        (str | os.PathLike[str] | None, "~/data", "home/data"),
        (str, "~/data", None),
        (str | Path, "s3://bucket", None),
        (int, 3, None),
    ],
)
def test_options_of_own_classes_are_expanded_where_their_hint_says_path(
    hint: Any, written: Any, meant: str | None, tmp_path: Path
) -> None:
    found = local_value(written, hint)
    assert found == written if meant is None else Path(found) == tmp_path / meant


def test_every_function_for_kept_runs_and_checkpoints_that_takes_a_path_is_listed() -> None:
    public = [value for value in vars(checkpoint).values() if inspection.isfunction(value)]
    takers = {
        f.__name__ for f in public if {"path", "root"} & set(inspection.signature(f).parameters)
    }
    assert takers - set(TAKERS) <= {
        "inspect",
        "best_valid",
        "find",
        "valid_at_step",
    }  # by way of the others
