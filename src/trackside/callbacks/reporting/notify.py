"""`Notify`."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from trackside.callbacks.reporting.json_lines_logger import number_or_word
from trackside.callbacks.reporting.summary_lines import ending
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.secret import Secret
from trackside.tracking.background import BackgroundQueue


@final
class Notify(RankZeroCallback):
    """Notifies of the end of a run: a webhook, or a command of this machine.

    Both get a JSON object: `text` (one line, what chat services show), `status`, `reason`,
    `asked_by`, `step`, `directory`, `metrics` (the latest values; `"NaN"`, `"Infinity"` or
    `"-Infinity"` where one isn't finite). The webhook gets it as the body of a POST request, the
    command on its standard input. A failure to notify is a warning: it changes nothing about how
    the run ended.

    Args:
        url: Address of the webhook, `https://...`; who knows it can post, so it is kept secret.
        command: Program and arguments; run without a shell.
        when: `end` reports every end, `failure` of errors alone.
        timeout_seconds: How long the end of the run waits at most.

    Raises:
        ConfigurationError: Neither `url` nor `command`, or no web address.

    Example:
        >>> Notify(command=["mail", "-s", "training has ended", "me@example.org"], when="failure")
        Notify(...)
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"

    def __init__(
        self,
        url: Secret | None = None,
        *,
        command: Sequence[str | Path] | None = None,
        when: Literal["end", "failure"] = "end",
        timeout_seconds: float = 10.0,
    ) -> None:
        if url is None and not command:
            raise ConfigurationError(
                "`Notify` has no receiver", expected="url=... or command=[...]"
            )
        if url is not None and not url.startswith(("https://", "http://")):
            raise ConfigurationError(
                "the address isn't one of a webhook",
                expected="https://...",
                option="url",
            )
        if when not in ("end", "failure"):
            raise ConfigurationError(
                f"when={when!r} is unknown", expected="'end' or 'failure'", option="when"
            )
        if isinstance(command, str):
            raise ConfigurationError(
                "the command is one text",
                expected="a list: program and arguments",
                option="command",
            )
        self.url = url
        self.command = [str(part) for part in command or ()]
        self.when = when
        self.timeout_seconds = timeout_seconds

    def __repr__(self) -> str:
        return "Notify(...)"  # a command may hold a key as well

    def rehearse_in(self, folder: Path) -> bool:
        """False: a rehearsal must not notify anybody."""
        return False

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self.when == "failure" and outcome.status not in (Status.FAILED, Status.DIVERGED):
            return
        body = json.dumps(message(run, outcome), default=str, allow_nan=False).encode()
        delivery = BackgroundQueue("Notify", attempts=2, flush_seconds=self.timeout_seconds)
        if self.url is not None:
            delivery.put(partial(self._post, self.url, body))
        if self.command:
            delivery.put(partial(self._call, body))
        delivery.close()

    def _post(self, url: str, body: bytes) -> None:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=self.timeout_seconds):
            pass

    def _call(self, body: bytes) -> None:
        subprocess.run(
            self.command, input=body, check=True, capture_output=True, timeout=self.timeout_seconds
        )


def message(run: Run, outcome: Outcome) -> Mapping[str, Any]:
    """The text of the notification."""
    latest = {name: run.history.latest(name) for name in run.history.names}
    return {
        "text": f"{run.directory.name}: {ending(outcome)}",
        "status": outcome.status.value,
        "reason": outcome.reason,
        "asked_by": outcome.asked_by,
        "step": outcome.step,
        "directory": str(run.directory),
        "metrics": {n: number_or_word(value) for n, value in latest.items() if value is not None},
    }
