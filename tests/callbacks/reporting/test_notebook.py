from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EPOCHS = 60

# Redrawn far more often than epochs end: what a drawing captured would be missed.
PROGRAM = f"""
from threading import Thread
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
trainer.fit(task.train, task.validation, epochs={EPOCHS})
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


def test_the_result_is_shown_as_a_table(outputs: list[Any]) -> None:
    [result] = [o for o in outputs if o["output_type"] == "execute_result"]

    assert "<td>val/loss</td>" in result["data"]["text/html"]
    assert result["data"]["text/plain"].startswith("<Result: completed at step")
