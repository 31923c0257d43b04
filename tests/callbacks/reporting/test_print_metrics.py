from __future__ import annotations

import io

from trackside.callbacks.reporting.print_metrics import PrintMetrics, choose
from trackside.testing import script


def test_values_are_printed_when_they_are_recorded(plain: io.StringIO) -> None:
    script(PrintMetrics(["val/*"]), [{"val/loss": 0.5, "val/accuracy": 0.25}])

    assert plain.getvalue() == "step 4  val/loss 0.5000  val/accuracy 0.2500\n"


def test_a_schedule_thins_them_out(plain: io.StringIO) -> None:
    script(PrintMetrics(["train_recent/*"], every="3 steps"), [{}] * 2)

    steps = [line.split()[1] for line in plain.getvalue().splitlines()]
    assert steps == ["3", "6"]


def test_names_are_patterns() -> None:
    values = {"val/loss": 1.0, "train/loss": 2.0, "lr/0": 3.0}

    assert list(choose(values, ["*/loss"])) == ["val/loss", "train/loss"]
