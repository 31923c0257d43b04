from __future__ import annotations

import io
from types import SimpleNamespace

from trackside.callbacks.reporting.dataset_stats import DatasetStats, sentence, sizes
from trackside.testing import tiny_regression


def test_a_line_tells_how_much_data_there_is(plain: io.StringIO) -> None:
    task = tiny_regression()

    history = (
        task.trainer(callbacks=[DatasetStats()]).fit(task.train, task.validation, epochs=2).history
    )

    assert plain.getvalue() == "data: train 10 samples in 3 batches, val 5 samples in 2 batches\n"
    assert history.values("data/train/samples") == [10.0]
    assert history.values("data/val/batches") == [2.0]


def test_the_line_can_be_left_out(plain: io.StringIO) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[DatasetStats(show=False)]).fit(task.train, epochs=1)

    assert plain.getvalue() == ""


def test_what_is_not_known_is_left_out() -> None:
    data = {"train": SimpleNamespace(samples=None, batches=None)}

    assert sizes(data) == {}
    assert sentence(data) == "train of unknown length"
