"""Callbacks that join one step of a run: written as in a file, or a debugger."""

from __future__ import annotations

import sys
from typing import Any

from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.values import Checker
from trackside.config.experiment.sections import callback_attributes
from trackside.config.text.layers import read
from trackside.config.text.problem import Findings
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


def callback_from(text: str) -> Any:
    """The callback that `text` describes: `gradient_norm`, or `{kind: gradient_norm, per: layer}`.

    Raises:
        ExperimentError: It is not understood, or its options are refused.
    """
    findings = Findings()
    document = read([], [f"callbacks.joining={text}"], findings)
    findings.stop_if_any()
    value = document.value["callbacks"]["joining"]
    checker = Checker(document, findings)
    made = checker.blueprint(
        value, ("callbacks", "joining"), CALLBACKS, attributes=callback_attributes()
    )
    findings.stop_if_any()
    if made is None:
        raise UsageError(f"{text!r} is not a callback")
    return made.build()


class Debugger(Callback[Run]):
    """Opens a debugger where a batch is about to go into the model."""

    def on_batch_start(self, run: Run, batch: Any) -> None:
        """Stop here: `run` and `batch` are at hand, `up` leads to the loop."""
        sys.breakpointhook()  # noqa: T100 - it was asked for
