"""Real processes for the tests: fixtures start a program on several ranks and wait for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from .forked import run_forked

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
CLAIM = "CLAIM "
"""Output lines that begin with this hold one claim as JSON, see `programs/claims.py`."""


@dataclass(frozen=True)
class RankOutput:
    """What one rank of a program printed, over all restarts."""

    stdout: str
    stderr: str

    @property
    def claims(self) -> dict[str, Any]:
        """The values that the rank claimed, by name; the last one counts."""
        lines = [line for line in self.stdout.splitlines() if line.startswith(CLAIM)]
        return dict(json.loads(line.removeprefix(CLAIM)) for line in lines)


@dataclass(frozen=True)
class TorchRun:
    """A finished program on several ranks."""

    exit_code: int
    seconds: float
    """From the start of the launcher to its end."""
    ended_at: float
    """When it ended, in seconds since the epoch, as the ranks' own clocks tell them."""
    output: str
    """What the launcher itself printed."""
    ranks: list[RankOutput]
    exit_codes: dict[int, int]
    """Exit code of each rank that failed, by rank, as the launcher saw it; minus the signal's
    number for one that was killed."""
    hung: bool
    """Whether it had to be ended because it ran longer than its timeout."""

    def claimed(self, name: str) -> list[Any]:
        """What each rank claims under `name`; fails with all output when one doesn't."""
        values = [rank.claims.get(name, _NOTHING) for rank in self.ranks]
        assert _NOTHING not in values, f"not every rank claims {name!r}\n{self}"
        return values

    def __str__(self) -> str:
        parts = [f"exit code {self.exit_code}, {self.seconds:.1f} s, hung: {self.hung}"]
        for number, rank in enumerate(self.ranks):
            parts += [f"--- rank {number} stdout", rank.stdout, f"--- rank {number} stderr"]
            parts += [rank.stderr]
        return "\n".join([*parts, "--- launcher", self.output])


_NOTHING = object()


class StartTorchrun(Protocol):
    def __call__(
        self,
        program: str | Path,
        *arguments: object,
        ranks: int = 2,
        max_restarts: int = 0,
        timeout_seconds: float = 100.0,
        environment: Mapping[str, str] | None = None,
        module: bool = False,
        during: Any = None,
    ) -> TorchRun: ...


@pytest.fixture(scope="session")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> StartTorchrun:
    """Run a program under torchrun and return what every rank printed.

    `program` is a file of `programs/` by name, any path, or, with `module`, a module. `during` is
    called with the running launcher (a `Popen`) and the folder of the ranks' logs, to disturb it.
    """

    def run(
        program: str | Path,
        *arguments: object,
        ranks: int = 2,
        max_restarts: int = 0,
        timeout_seconds: float = 100.0,
        environment: Mapping[str, str] | None = None,
        module: bool = False,
        during: Any = None,
    ) -> TorchRun:
        logs = tmp_path_factory.mktemp("torchrun")
        path = program if module or Path(program).is_absolute() else PROGRAMS / program
        options = ["--nproc-per-node", ranks, "--max-restarts", max_restarts]
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
        options += ["--log-dir", logs, "--redirects", 3, *(["--module"] if module else [])]
        command = [sys.executable, "-m", "torch.distributed.run", *map(str, [*options, path])]
        started = time.monotonic()
        launcher = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=logs,
            env=child_environment(environment),
        )
        hung = False
        try:
            if during is not None:
                during(launcher, logs)
            output, _ = launcher.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            hung = True
            _end(launcher)
            output, _ = launcher.communicate()
        finally:
            _end(launcher)
        return TorchRun(
            exit_code=launcher.returncode,
            seconds=time.monotonic() - started,
            ended_at=time.time(),
            output=output,
            ranks=[_output(logs, rank) for rank in range(ranks)],
            exit_codes=_exit_codes(output),
            hung=hung,
        )

    return run


class StartForked(Protocol):
    def __call__(
        self,
        program: str,
        *arguments: object,
        ranks: int = 2,
        timeout_seconds: float = 100.0,
        environment: Mapping[str, str] | None = None,
    ) -> TorchRun: ...


RunAlone = Callable[..., dict[str, Any]]
"""Called with a program of `programs/` and its arguments; returns what it claims."""


@pytest.fixture(scope="session")
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> StartForked:
    """Run a program of `programs/` on several ranks, without a launcher; see `forked.py`."""

    def run(
        program: str,
        *arguments: object,
        ranks: int = 2,
        timeout_seconds: float = 100.0,
        environment: Mapping[str, str] | None = None,
    ) -> TorchRun:
        logs = tmp_path_factory.mktemp("ranks")
        started = time.monotonic()
        command = [str(PROGRAMS / program), *map(str, arguments)]
        variables = child_environment(environment)
        codes = run_forked(command, variables, logs, ranks, timeout_seconds)
        failed = {rank: code for rank, code in enumerate(codes) if code}
        return TorchRun(
            exit_code=1 if failed or None in codes else 0,
            seconds=time.monotonic() - started,
            ended_at=time.time(),
            output="",
            ranks=[_output(logs, rank) for rank in range(ranks)],
            exit_codes=failed,
            hung=None in codes,
        )

    return run


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunAlone:
    """Run a program of `programs/` in one process without a group; returns its claims."""

    def run(program: str, *arguments: object) -> dict[str, Any]:
        logs = tmp_path_factory.mktemp("alone")
        command = [str(PROGRAMS / program), *map(str, arguments)]
        codes = run_forked(command, child_environment(), logs, None, timeout_seconds=100)
        ended = _output(logs, 0)
        assert codes == [0], ended.stderr
        return ended.claims

    return run


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC_")}
    # A copy of the source that a test is tried on comes before the one beside it.
    paths = [str(PROGRAMS), environment.get("PYTHONPATH", ""), str(REPOSITORY / "src")]
    environment |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
    }
    return environment | dict(extra or {})


def _end(launcher: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever the test did."""
    if launcher.poll() is not None:
        return
    processes = [*psutil.Process(launcher.pid).children(recursive=True), launcher]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _output(logs: Path, rank: int) -> RankOutput:
    texts = {
        name: "".join(f.read_text() for f in sorted(logs.glob(f"**/{rank}/{name}.log")))
        for name in ("stdout", "stderr")
    }
    return RankOutput(**texts)


def _exit_codes(output: str) -> dict[int, int]:
    found = re.findall(r"rank\s+: (\d+) .*\n\s+exitcode\s+: (-?\d+)", output)
    return {int(rank): int(code) for rank, code in found}
