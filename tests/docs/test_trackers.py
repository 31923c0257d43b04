"""The page on trackers says of each what it takes, as the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import trackside.callbacks
from trackside.callbacks.reporting import dvclive, mlflow, tensorboard, trackio, wandb
from trackside.tracking.tracker import Tracker
from trackside.tracking.undelivered import WRITERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trackers.md"
HEAD = "| | metrics | configuration |"
KINDS: list[type[Tracker]] = [
    tensorboard.TensorBoard,
    mlflow.MLflow,
    wandb.WandB,
    trackio.Trackio,
    dvclive.DVCLive,
]


def table() -> dict[str, dict[str, str]]:
    lines = PAGE.read_text(encoding="utf-8").partition(HEAD)[2].partition("\n\n")[0].splitlines()
    kinds = [cell.strip() for cell in lines[0].strip("|").split("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0].strip("`"): dict(zip(kinds, row[3:], strict=True)) for row in rows}


def test_the_table_of_the_page_says_what_each_tracker_takes() -> None:
    taken = {
        kind.__name__: {one: "yes" if kind.takes(one) else "no" for one in WRITERS}
        for kind in KINDS
    }
    assert table() == taken


def test_no_tracker_is_left_out() -> None:
    folder = Path(inspect.getfile(trackside.callbacks)).parent
    classes = {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(Tracker\)", path.read_text(), re.M)
    }

    assert classes == {kind.__name__ for kind in KINDS}
