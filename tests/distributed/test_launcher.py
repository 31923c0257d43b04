from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.distributed.conftest import PROGRAMS, child_environment
from trackside.distributed.launcher import exit_code, launch
from trackside.errors import ConfigurationError


@pytest.mark.parametrize(("code", "shown"), [(0, 0), (3, 3), (-9, 137), (-15, 143)])
def test_exit_codes_are_as_a_shell_shows_them(code: int, shown: int) -> None:
    assert exit_code(code) == shown


@pytest.mark.parametrize(("processes", "restarts"), [(0, 0), (2, -1)])
def test_impossible_launches_are_refused(processes: int, restarts: int) -> None:
    with pytest.raises(ConfigurationError, match="can't launch"):
        launch(["true"], processes, max_restarts=restarts)


def start(own_folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`launch` in a process of its own: it installs signal handlers and reads the environment."""
    call = (
        "import sys; from trackside.distributed.launcher import launch; "
        "sys.exit(launch([sys.executable, *sys.argv[2:]], 2, max_restarts=int(sys.argv[1])))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", call, *arguments],
        env=child_environment(),
        cwd=own_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.distributed
def test_a_failed_job_starts_again_and_all_ranks_with_it(own_folder: Path) -> None:
    launcher = start(own_folder, "1", str(PROGRAMS / "restarted.py"), str(own_folder))
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output
    starts = sorted(f.name for f in own_folder.glob("start-*"))
    assert starts == ["start-0-0", "start-0-1", "start-1-0", "start-1-1"], output


@pytest.mark.distributed
def test_a_signal_reaches_every_process_and_is_the_exit_code(own_folder: Path) -> None:
    launcher = start(own_folder, "0", str(PROGRAMS / "told_to_end.py"), str(own_folder))
    assert launcher.stdout is not None
    said = ""
    while said.count("READY") < 2:  # both may stand in one line: they write at the same time
        line = launcher.stdout.readline()
        assert line, said
        said += line
    children = psutil.Process(launcher.pid).children(recursive=True)
    launcher.send_signal(signal.SIGTERM)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 143, output
    assert sorted(f.name for f in own_folder.glob("told-*")) == ["told-0", "told-1"]
    assert not [child for child in children if child.is_running()]
