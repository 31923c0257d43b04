"""`import trackside` starts nothing; a run starts what SECURITY.md declares, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.programs.foreign_text import FOREIGN

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "trackside"
STARTS = re.compile(
    r"threading\.Thread\(|(Thread|Process)PoolExecutor\(|subprocess\.(run|Popen)|(?<!tune\.)get_context\("
    r"|os\.(fork|system|popen|exec\w*|posix_spawn)\(|typer\.launch\(|webbrowser|asyncio\.|\.status\("
    r"|urllib\.request|http\.server|socketserver|socket\.(socket\w*|create_\w+)\("
    r"|torch\.compile\(|elastic_launch\(|init_process_group\(|TorchTrainer\("
)
THREADS = {"checkpoint of step", "progress"}  # batches are small: no thread follows the steps

Found = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """By part of the program: kinds of what was started, and each one."""
    folder = tmp_path_factory.mktemp("audited")
    program = [sys.executable, "-m", "tests.faults.programs.audited"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(program, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    kept = [path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()]
    assert sum(FOREIGN.encode() in content for content in kept) >= 2  # in checkpoint and records
    parts: Found = json.loads((folder / "found.json").read_text())
    return parts


def test_the_hook_hears_what_must_not_be(found: Found) -> None:
    planted = found["planted"]
    assert planted["process"] == ["true"]
    assert planted["thread"] == ["planted"]
    assert planted["socket"] == ["AF_INET"]
    assert "pathlib.PosixPath" in planted["unpickled"][0]
    assert FOREIGN in planted["compiled"][0]
    assert {"by name", "by descriptor"} <= set(planted["written"])


def test_an_import_starts_nothing_and_writes_nothing(found: Found) -> None:
    assert found["import"] == {}


@pytest.mark.parametrize("part", ["fit", "resume"])
def test_a_run_that_is_saved_and_resumed_starts_git_and_its_threads(
    found: Found, part: str
) -> None:
    heard = found[part]
    assert set(heard) <= {"process", "thread", "written"}
    assert set(heard.get("process", [])) <= {"git", "uname"}
    assert {re.sub(r" \d+$", "", name) for name in heard["thread"]} == THREADS


def test_all_of_it_can_be_switched_off(found: Found) -> None:
    assert set(found["switched off"]) <= {"written"}


def test_the_process_that_writes_checkpoints_is_one_and_was_asked_for(found: Found) -> None:
    heard = found["process"]
    assert heard["process"] == [sys.executable]
    assert set(heard) <= {"process", "thread", "written"}
    threads = {re.sub(r" \d+$", "", name) for name in heard["thread"]}
    assert threads == {"checkpoint of step", "memory for checkpoints"}


def test_a_remote_folder_takes_two_threads_and_the_best_weights_one(found: Found) -> None:
    heard = found["remote"]
    assert set(heard) <= {"thread", "written"}
    threads = {re.sub(r"[_-]\d+$", "", name) for name in heard["thread"]}
    threads.discard("Thread")  # rich draws what is left, where the run waits for it
    assert threads == {"remote claim", "uploads to memory://bucket/run", "best weights"}


@pytest.mark.parametrize("command", ["report", "why", "inspect", "runs", "gc"])
def test_a_command_that_reads_a_run_starts_nothing_and_runs_no_text_of_it(
    found: Found, command: str
) -> None:
    assert set(found[command]) <= {"written"}


def test_workers_are_the_processes_that_were_asked_for(found: Found) -> None:
    assert found["workers"]["process"] == ["os.fork"]
    assert set(found["workers"].get("socket", [])) <= {"AF_UNIX"}
    named = found["workers"].get("unpickled", [])  # what a worker sends, as torch does
    assert {name.partition(".")[0] for name in named} <= {"torch", "multiprocessing"}


def test_what_starts_something_is_declared_in_the_page() -> None:
    """A module of the package that can start something stands there by its path."""
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    starting = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if STARTS.search(re.sub(r'"""(.|\n)*?"""', "", path.read_text(encoding="utf-8")))
    }
    assert starting == set(re.findall(r"`([\w/]+\.py)`", page))
