"""For authors of callbacks: watch a run, script one, check a callback against the rules.

A scripted run is the real loop over steps that compute nothing: what a callback does is tested in
milliseconds. `grammar`, `recording` and `spying` import no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.testing.contract import RULES as RULES
    from trackside.testing.contract import ContractError as ContractError
    from trackside.testing.contract import ContractReport as ContractReport
    from trackside.testing.contract import check_callback as check_callback
    from trackside.testing.device_waits import DeviceWaitError as DeviceWaitError
    from trackside.testing.device_waits import no_device_waits as no_device_waits
    from trackside.testing.grammar import Grammar as Grammar
    from trackside.testing.grammar import GrammarError as GrammarError
    from trackside.testing.grammar import check_grammar as check_grammar
    from trackside.testing.recording import Event as Event
    from trackside.testing.recording import Recorder as Recorder
    from trackside.testing.scripting import ScriptedRun as ScriptedRun
    from trackside.testing.scripting import script as script
    from trackside.testing.spying import SpyCallback as SpyCallback
    from trackside.testing.tasks import Task as Task
    from trackside.testing.tasks import tiny_classification as tiny_classification
    from trackside.testing.tasks import tiny_regression as tiny_regression
    from trackside.testing.tasks import tiny_rows as tiny_rows
else:
    # Recorders, spies and the grammar need no torch.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "contract": (
                "ContractError",
                "ContractReport",
                "RULES",
                "check_callback",
            ),
            "device_waits": (
                "DeviceWaitError",
                "no_device_waits",
            ),
            "grammar": (
                "Grammar",
                "GrammarError",
                "check_grammar",
            ),
            "recording": (
                "Event",
                "Recorder",
            ),
            "scripting": (
                "ScriptedRun",
                "script",
            ),
            "spying": ("SpyCallback",),
            "tasks": (
                "Task",
                "tiny_classification",
                "tiny_regression",
                "tiny_rows",
            ),
        },
    )

__all__ = [
    "RULES",
    "ContractError",
    "ContractReport",
    "DeviceWaitError",
    "Event",
    "Grammar",
    "GrammarError",
    "Recorder",
    "ScriptedRun",
    "SpyCallback",
    "Task",
    "check_callback",
    "check_grammar",
    "no_device_waits",
    "script",
    "tiny_classification",
    "tiny_regression",
    "tiny_rows",
]
