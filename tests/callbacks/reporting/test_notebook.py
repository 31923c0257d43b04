from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from trackside import Callback, Run
from trackside.callbacks import EpochTable, ProgressBar
from trackside.testing import tiny_regression

EPOCHS = 60

# Redrawn far more often than epochs end: what a drawing captured would be missed.
PROGRAM = f"""
import sys, types
from threading import Thread
asked_for = []
class Widgets(types.ModuleType):
    def __getattr__(self, name):
        asked_for.append(name)
        raise AttributeError(name)
sys.modules["ipywidgets"] = Widgets("ipywidgets")
from trackside import Callback
from trackside.callbacks import ProgressBar
from trackside.testing import tiny_regression

class Say(Callback):
    def on_epoch_end(self, run, metrics):
        print("EPOCH", run.progress.epochs_completed)
        aside = Thread(target=print, args=("ASIDE", run.progress.epochs_completed))
        aside.start()
        aside.join()

task = tiny_regression()
trainer = task.trainer(
    defaults=True,
    callbacks={{"progress": ProgressBar(refresh_per_second=500), "checkpoint": None, "say": Say()}},
)
result = trainer.fit(task.train, task.validation, epochs={EPOCHS})
print("WIDGETS", [name for name in asked_for if not name.startswith("__")])
result
"""


@pytest.fixture(scope="module")
def outputs() -> list[Any]:
    """What a notebook keeps of a cell that trains, run by a real kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRAM)])
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    [cell] = notebook.cells
    return list(cell.outputs)


def texts(outputs: list[Any]) -> str:
    # One print may come in two pieces: they are joined as they are.
    return "".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.parametrize("word", ["EPOCH", "ASIDE"])
def test_no_print_of_the_user_is_lost_from_whatever_thread(outputs: list[Any], word: str) -> None:
    printed = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    said = re.findall(rf"{word} (\d+)", printed)

    assert said == [str(number) for number in range(1, EPOCHS + 1)]


def test_no_row_of_the_table_is_lost(outputs: list[Any]) -> None:
    plain = re.sub(r"\x1b\[[\d;]*m", "", texts(outputs))

    rows = re.findall(r"^ +(\d+) +[\d,]+ +[\d.e-]+", plain, re.M)
    assert rows == [str(number) for number in range(1, EPOCHS + 1)]


def test_the_bar_is_one_line_that_ends_where_the_run_does(outputs: list[Any]) -> None:
    bars = [o for o in outputs if "<progress" in o.get("data", {}).get("text/html", "")]

    [bar] = bars
    assert f"epoch {EPOCHS}/{EPOCHS}" in bar["data"]["text/plain"]


def test_a_notebook_with_widgets_is_shown_the_same_as_one_without(outputs: list[Any]) -> None:
    # Their output area would take in what other threads print, and lose it.
    printed = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    assert "WIDGETS []" in printed


def test_captured_output_has_every_row_and_every_print() -> None:
    class Says(Callback[Run]):
        def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            print("EPOCH", run.progress.epochs_completed)

    task, captured = tiny_regression(), io.StringIO()
    with contextlib.redirect_stdout(captured):
        trainer = task.trainer(callbacks=[ProgressBar(), EpochTable(), Says()])
        trainer.fit(task.train, task.validation, epochs=5)

    text = captured.getvalue()
    numbers = [str(number) for number in range(1, 6)]
    assert re.findall(r"EPOCH (\d+)", text) == numbers
    assert re.findall(r"^ +(\d+) +[\d,]+ +[\d.e-]+", text, re.M) == numbers


def test_the_result_is_shown_as_a_table(outputs: list[Any]) -> None:
    [result] = [o for o in outputs if o["output_type"] == "execute_result"]

    assert "<td>val/loss</td>" in result["data"]["text/html"]
    assert result["data"]["text/plain"].startswith("<Result: completed at step")
