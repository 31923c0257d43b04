from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import trackside.checkpoint.writer
from tests.checkpoint.states import ThreadRanks, equal, on_ranks, rank_state, small_state
from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    Saving,
    candidates,
    delegation,
    load,
    open_checkpoint,
)
from trackside.checkpoint.delegation import WriterChoice, shared_from_bytes
from trackside.errors import ConfigurationError


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CheckpointWriter]:
    made = CheckpointWriter(tmp_path, "run", writer="process")
    yield made
    made.end()


def process_of(writer: CheckpointWriter) -> int:
    pid = writer._process.pid
    assert pid is not None
    return pid


def save(writer: CheckpointWriter, step: int) -> tuple[str, ...]:
    """Save a state of its own for each step, and look at it. Returns the notes."""
    writer.save(small_state(step), Saving(step=step), rank_state=rank_state())
    writer.close()
    [saved] = writer.poll()
    assert equal(load(saved.path), small_state(step))
    return saved.notes


def test_the_process_writes_the_file_that_a_thread_writes(
    writer: CheckpointWriter, tmp_path: Path
) -> None:
    thread = CheckpointWriter(tmp_path / "thread", "run", writer="thread")
    found = []
    for one in (writer, thread):
        one.save(small_state(), Saving(step=1), rank_state=rank_state())
        one.close()
        found.append(one.poll()[0].manifest.files)
    assert process_of(writer) != os.getpid()
    assert found[0] == found[1]


def test_one_process_writes_all_checkpoints_and_ends_with_the_writer(
    writer: CheckpointWriter,
) -> None:
    writer.save(small_state(0), Saving(step=0))
    first = process_of(writer)
    writer.close()
    writer.poll()
    assert save(writer, 1) == save(writer, 2) == ()
    assert process_of(writer) == first
    writer.end()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_state_of_another_shape_is_written_as_it_is(writer: CheckpointWriter) -> None:
    for step, state in enumerate(
        [{"a": torch.ones(3)}, {"a": torch.ones(9_000), "b": torch.ones(2)}]
    ):
        writer.save(state, Saving(step=step))
        writer.close()
        [saved] = writer.poll()
        assert equal(load(saved.path), state)


def test_a_process_that_is_killed_in_a_save_loses_nothing(writer: CheckpointWriter) -> None:
    save(writer, 1)
    killed = process_of(writer)
    os.kill(killed, signal.SIGSTOP)  # it never comes to its order
    writer.save(small_state(2), Saving(step=2))
    os.kill(killed, signal.SIGKILL)
    writer.close()
    [saved] = writer.poll()
    assert equal(load(saved.path), small_state(2))
    [note] = saved.notes
    assert "SIGKILL; a thread wrote this one, the next one has a new process" in note
    assert save(writer, 3) == ()
    assert process_of(writer) != killed


def test_a_process_that_keeps_dying_is_replaced_by_a_thread(writer: CheckpointWriter) -> None:
    notes: list[str] = []
    for step in range(delegation.MOST_DEATHS):
        save(writer, 2 * step)
        os.kill(process_of(writer), signal.SIGKILL)
        notes += save(writer, 2 * step + 1)
    assert notes[-1].endswith("a thread wrote this one, so do the next")
    save(writer, 100)
    assert writer._process.pid is None


def test_an_error_of_the_process_is_the_error_of_a_thread(
    writer: CheckpointWriter, tmp_path: Path
) -> None:
    save(writer, 1)
    resource.prlimit(process_of(writer), resource.RLIMIT_FSIZE, (100, 100))
    writer.save(small_state(2), Saving(step=2))
    with pytest.raises(CheckpointWriteError, match="File too large") as caught:
        writer.close()
    assert isinstance(caught.value.__cause__, OSError)
    assert "limit for the size of a file" in str(caught.value)
    assert [each.step for each in candidates(tmp_path)] == [1]
    assert list(tmp_path.glob(".tmp-*step*")) == []


def test_a_process_that_cannot_start_is_replaced_by_a_thread(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    [note] = save(writer, 1)
    assert "no process could start: [Errno 2] No such file" in note


def test_an_interpreter_that_is_not_known_is_replaced_by_a_thread(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", None)
    [note] = save(writer, 1)
    assert "no process could start" in note


def test_an_order_that_was_interrupted_is_not_answered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(thread: threading.Thread) -> bool:
        return False

    writer = CheckpointWriter(tmp_path, "run", writer="process")
    save(writer, 1)
    monkeypatch.setattr(trackside.checkpoint.writer, "_started", no_thread)
    ask = delegation._Line.ask

    def interrupted(line: Any, order: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.setattr(delegation._Line, "ask", ask)
        os.kill(line.process.pid, signal.SIGSTOP)
        raise KeyboardInterrupt

    monkeypatch.setattr(delegation._Line, "ask", interrupted)
    writer.save(small_state(2), Saving(step=2))
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert save(writer, 3) == ()
    writer.end()


def test_a_module_that_cannot_be_imported_is_replaced_by_a_thread(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegation, "_MODULE", "trackside.no_such_module")
    [note] = save(writer, 1)
    assert "ended: with the exit code 1; a thread wrote this one" in note


def test_a_reader_that_died_is_no_signal_for_the_run(writer: CheckpointWriter) -> None:
    former = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as many commands have it
    try:
        save(writer, 1)
        process = writer._process._line.process  # type: ignore[union-attr]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert len(save(writer, 2)) == 1
    finally:
        signal.signal(signal.SIGPIPE, former)


def test_it_has_a_session_of_its_own_and_a_low_priority(writer: CheckpointWriter) -> None:
    save(writer, 1)
    pid = process_of(writer)
    assert os.getsid(pid) == pid
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(own + 10, 19)


def test_signals_that_ask_the_run_for_its_end_don_t_end_it(writer: CheckpointWriter) -> None:
    save(writer, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(process_of(writer), number)
    assert save(writer, 2) == ()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_it_alive(writer: CheckpointWriter) -> None:
    save(writer, 1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent has seen
        os._exit(0)
    try:
        process = writer._process._line.process  # type: ignore[union-attr]
        writer.end()
        assert process.returncode == 0  # it was not waited for in vain, and killed
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


@pytest.mark.parametrize(("choice", "megabytes"), [("auto", 32 * 1.048576), ("process", 0)])
def test_the_size_decides_who_writes(choice: WriterChoice, megabytes: float) -> None:
    assert shared_from_bytes(choice) == megabytes * 1e6


def test_a_small_state_starts_no_process(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    save(writer, 1)
    assert writer._process.pid is None


def test_a_large_state_starts_one_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegation, "PROCESS_FROM_BYTES", 100)
    writer = CheckpointWriter(tmp_path, "run")
    save(writer, 1)
    process_of(writer)
    writer.end()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"writer": "threads"}, "expected: 'auto', 'process' or 'thread'"),
        ({"writer": "process", "background": False}, "has no effect with background=False"),
    ],
)
def test_a_choice_without_a_meaning_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CheckpointWriter(tmp_path, "run", **options)


def test_a_system_without_shared_memory_is_told_and_a_thread_writes(
    writer: CheckpointWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert save(writer, 1) == ()
    assert "no shared memory, a thread writes the checkpoints" in caplog.text


def test_each_rank_has_a_process_for_its_part(tmp_path: Path) -> None:
    def work(ranks: ThreadRanks) -> int:
        writer = CheckpointWriter(tmp_path, "run", ranks=ranks, writer="process")
        writer.save(small_state(), Saving(step=1), rank_state=rank_state(ranks.rank))
        writer.close()
        pid = process_of(writer)
        writer.end()
        return pid

    assert len({*map(str, on_ranks(2, work))}) == 2
    checkpoint = open_checkpoint(tmp_path / "step-0000000001")
    assert equal(checkpoint.rank_state(1), rank_state(1))


def test_an_error_of_one_rank_s_process_is_raised_on_all(tmp_path: Path) -> None:
    def work(ranks: ThreadRanks) -> None:
        writer = CheckpointWriter(tmp_path, "run", ranks=ranks, writer="process")
        try:
            writer.save(small_state(), Saving(step=1), rank_state=rank_state(ranks.rank))
            writer.close()
            if ranks.rank == 1:
                resource.prlimit(process_of(writer), resource.RLIMIT_FSIZE, (100, 100))
            writer.save(small_state(), Saving(step=2), rank_state=rank_state(ranks.rank))
            writer.close()
        finally:
            writer.end()

    results = on_ranks(2, work)
    assert all(isinstance(result, CheckpointWriteError) for result in results), results
    assert all("File too large" in str(result) for result in results)
    assert [each.step for each in candidates(tmp_path)] == [1]


def test_a_rank_s_own_tensors_are_in_the_file(writer: CheckpointWriter) -> None:
    writer.save(small_state(), Saving(step=1), rank_state=rank_state())
    writer.close()
    [saved] = writer.poll()
    assert equal(open_checkpoint(saved.path).rank_state(0), rank_state())
