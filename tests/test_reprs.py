"""Objects that people print say in words where they stand."""

from __future__ import annotations

from typing import Any

import pytest

from trackside import Callback, History, Record, Run
from trackside.callbacks import EarlyStopping
from trackside.testing import tiny_regression


class Sees(Callback[Run]):
    def on_fit_end(self, run: Run) -> None:
        self.run = repr(run)
        self.data = repr(run.data["train"])
        self.callbacks = repr(run.callbacks)
        self.world = repr(run.world)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    task, sees = tiny_regression(), Sees()
    trainer = task.trainer(callbacks=[sees, EarlyStopping(patience=7)])
    result = trainer.fit(task.train, task.validation, epochs=2)
    return {
        **vars(sees),
        "history": repr(result.history),
        "result": repr(result),
        "outcome": str(result.outcome),
        "table": result.history._repr_html_(),
    }


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("run", "6 steps completed"),
        ("data", "<DataSource 'train': samples 10, batches 3>"),
        ("callbacks", "early_stopping=EarlyStopping(patience=7)"),
        ("world", "size=1"),
        ("history", "4 records to step 6; "),
        ("history", "val/loss "),
        ("result", "completed at step 6"),
        ("outcome", "completed at step 6: reached epochs=2"),
        ("table", "<td>val/loss</td>"),
    ],
)
def test_what_is_printed_says_where_it_stands(shown: dict[str, Any], what: str, words: str) -> None:
    assert words in shown[what]
    assert " at 0x" not in shown[what]


def test_an_empty_history_has_a_repr() -> None:
    assert repr(History()) == "<History: empty>"


def test_a_name_in_a_table_is_no_markup() -> None:
    history = History()
    history.append(Record({"<b>": 1.0}, 1, 0, 4, 0.1))
    assert "<td>&lt;b&gt;</td><td>1</td>" in history._repr_html_()
