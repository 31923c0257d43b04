from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks.reporting.notify import Notify
from trackside.errors import ConfigurationError
from trackside.testing import ScriptedRun, script, tiny_regression


@pytest.fixture
def posted() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a webhook on this machine, and what it was sent."""
    bodies: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", bodies
        server.shutdown()
        thread.join()


def write_to(path: Path) -> list[str]:
    program = f"import sys; open({str(path)!r}, 'a').write(sys.stdin.read())"
    return [sys.executable, "-c", program]


def test_a_webhook_is_told_the_end(posted: tuple[str, list[dict[str, Any]]]) -> None:
    url, bodies = posted

    script(Notify(url), [{"val/loss": 0.5}], directory="runs/first")

    [body] = bodies
    assert body["text"] == "first: completed at step 4: the script is over"
    assert (body["status"], body["metrics"]["val/loss"]) == ("completed", 0.5)


def test_a_command_gets_it_on_its_standard_input(tmp_path: Path) -> None:
    script(Notify(command=write_to(tmp_path / "told")), [{}])

    assert json.loads((tmp_path / "told").read_text())["step"] == 4


def test_a_program_may_be_a_path() -> None:
    assert Notify(command=[Path("/usr/bin/mail"), "me"]).command == ["/usr/bin/mail", "me"]


def test_a_metric_that_is_not_finite_is_a_word_of_json(tmp_path: Path) -> None:
    told = tmp_path / "told"
    values = {"val/loss": math.nan, "val/gain": -math.inf, "val/accuracy": 0.5}

    script(Notify(command=write_to(told)), [values])

    metrics = json.loads(told.read_text(), parse_constant=pytest.fail)["metrics"]
    assert {name: metrics[name] for name in values} == {
        "val/loss": "NaN",
        "val/gain": "-Infinity",
        "val/accuracy": 0.5,
    }


def test_with_failure_a_good_end_is_kept_quiet(tmp_path: Path) -> None:
    notify = Notify(command=write_to(tmp_path / "told"), when="failure")

    def story(run: ScriptedRun) -> None:
        raise ValueError("out of luck")

    script(notify, [{}])
    assert not (tmp_path / "told").exists()
    with pytest.raises(ValueError, match="out of luck"):
        script(notify, story)
    assert json.loads((tmp_path / "told").read_text())["reason"] == "ValueError: out of luck"


def test_nobody_to_tell_is_a_warning_and_changes_no_outcome() -> None:
    run = script(Notify(command=[sys.executable, "-c", "raise SystemExit(3)"]), [{}])

    assert run.outcome is not None
    assert run.outcome.status == "completed"
    assert run.callbacks.failures() == {"notify": 1}


def test_an_evaluation_by_itself_is_kept_quiet(tmp_path: Path) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[Notify(command=write_to(tmp_path / "told"))]).evaluate(task.validation)

    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize(
    "options", [{}, {"url": "file:///etc/passwd"}, {"command": "mail me"}, {"command": []}]
)
def test_what_can_not_be_told_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Notify(**options)
