"""Output never ends a run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.files import good
from trackside.tracking.streams import LastingStream

PROGRAM = """
import sys
from trackside.testing import tiny_regression

task = tiny_regression()
trainer = task.trainer(defaults=True)
result = trainer.fit(task.train, task.validation, epochs=50)
print("ended", result.outcome.status, file=sys.stderr)
print("a print of the user's")
"""


def test_what_an_encoding_lacks_is_written_as_escapes() -> None:
    raw = io.BytesIO()
    stream = LastingStream(lambda: narrow)
    narrow = io.TextIOWrapper(raw, encoding="ascii")

    stream.write("3 · 4 → \udcff\n")
    stream.flush()

    assert raw.getvalue() == b"3 \\xb7 4 \\u2192 \\udcff\n"


@pytest.mark.parametrize("times", [1, 3])
def test_a_reader_that_is_gone_is_no_error(times: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        stream = LastingStream(lambda: file)
        for _ in range(times):
            stream.write("nobody reads this\n")
            stream.flush()
        print("nor this", file=file, flush=True)


def test_a_terminal_that_is_closed_is_no_error() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as file:
        stream = LastingStream(lambda: file)
        os.close(ours)
        for _ in range(2):
            stream.write("nobody reads this\n")
            stream.flush()
        print("nor this", file=file, flush=True)


def test_a_closed_stream_is_no_error() -> None:
    file = io.StringIO()
    file.close()

    LastingStream(lambda: file).write("nobody reads this\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_training_goes_on_to_its_end_without_its_reader(encoding: str) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" | head -n 1; exit ${PIPESTATUS[0]}', sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )

    assert "ended completed" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_a_command_goes_on_to_its_end_without_its_reader() -> None:
    root = Path(__file__).resolve().parents[2]
    Path("run.yaml").write_text(good())
    done = subprocess.run(
        [
            "bash",
            "-c",
            '"$0" -m trackside train run.yaml | true; exit ${PIPESTATUS[0]}',
            sys.executable,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )

    assert done.returncode == 0, done.stderr
