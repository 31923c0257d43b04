"""The program itself, run in this process; `test_delegation` starts it as another one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trackside.checkpoint import writer_process
from trackside.checkpoint.temporary import LOCK_NAME
from trackside.checkpoint.writer_process import Abandoned, Writer, remove


@pytest.fixture
def memory() -> Iterator[int]:
    file = os.memfd_create("tensors")
    os.write(file, bytes(range(256)) * 16)
    yield file
    os.close(file)


@pytest.fixture
def pipe() -> Iterator[tuple[io.BufferedReader, io.FileIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as orders, os.fdopen(writing, "wb", buffering=0) as giving:
        yield orders, giving


def order(path: Path, **what: Any) -> dict[str, Any]:
    return {"path": str(path), "with_folder": True, "header": b"head".hex(), **what}


def test_header_and_ranges_are_the_file(tmp_path: Path, memory: int, pipe: tuple[Any, Any]) -> None:
    writer = Writer(pipe[0], io.BytesIO(), memory)
    answer = writer._answer(order(tmp_path / "file", ranges=[[4, 3], [250, 10]]))
    content = (tmp_path / "file").read_bytes()
    assert content == b"head" + bytes([4, 5, 6, *range(250, 256), 0, 1, 2, 3])
    assert answer["size_bytes"] == len(content)


def test_the_layout_of_before_holds_for_an_order_without_one(
    tmp_path: Path, memory: int, pipe: tuple[Any, Any]
) -> None:
    writer = Writer(pipe[0], io.BytesIO(), memory)
    first = writer._answer(order(tmp_path / "a", ranges=[[0, 9]]))
    second = writer._answer({"path": str(tmp_path / "b"), "with_folder": True})
    assert first == second


def test_an_error_of_the_system_is_the_answer(
    tmp_path: Path, memory: int, pipe: tuple[Any, Any]
) -> None:
    writer = Writer(pipe[0], io.BytesIO(), memory)
    path = tmp_path / "gone" / "file"
    answer = writer._answer(order(path, ranges=[]))
    assert answer == {"errno": 2, "reason": "No such file or directory", "file": str(path)}


def test_another_error_is_named(tmp_path: Path, memory: int, pipe: tuple[Any, Any]) -> None:
    writer = Writer(pipe[0], io.BytesIO(), memory)
    answer = writer._answer({**order(tmp_path / "file"), "ranges": None})
    assert answer["failed"].startswith("TypeError: ")


def test_what_is_not_whole_when_the_run_ends_is_removed(
    tmp_path: Path, memory: int, pipe: tuple[Any, Any]
) -> None:
    folder = tmp_path / "staging"
    folder.mkdir()
    (folder / LOCK_NAME).touch()
    pipe[1].close()
    with pytest.raises(Abandoned):
        Writer(pipe[0], io.BytesIO(), memory)._answer(order(folder / "file", ranges=[[0, 9]]))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_other_ranks_stays(tmp_path: Path) -> None:
    for name in (LOCK_NAME, "mine", "another rank's"):
        (tmp_path / name).touch()
    remove(tmp_path / "mine", with_folder=False)
    assert sorted(os.listdir(tmp_path)) == ["another rank's", LOCK_NAME]


def test_it_serves_until_there_are_no_more_orders(tmp_path: Path, memory: int) -> None:
    reading, writing = os.pipe()
    answers = io.BytesIO()
    line = json.dumps(order(tmp_path / "file", ranges=[[0, 9]])).encode() + b"\n"
    os.write(writing, line)
    with os.fdopen(reading, "rb") as orders:
        writer = Writer(orders, answers, memory)
        answered = writer._answer

        def last(order: dict[str, Any]) -> dict[str, Any]:
            answer = answered(order)
            os.close(writing)
            return answer

        writer._answer = last  # type: ignore[method-assign]
        writer.serve()
    assert json.loads(answers.getvalue())["size_bytes"] == 13


def test_signals_that_ask_for_the_end_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, how: ignored.append(number))
    monkeypatch.setattr(signal, "pthread_sigmask", lambda how, numbers: None)
    writer_process.ignore_signals()
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1} <= set(ignored)
    assert {signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS}.isdisjoint(ignored)


def test_it_needs_neither_torch_nor_numpy() -> None:
    program = "import sys, trackside.checkpoint.writer_process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    assert {"torch", "numpy"}.isdisjoint(done.stdout.decode().split())
