from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trackside.distributed.ray import launch
from trackside.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "programs" / "on_ray.py"


@pytest.mark.parametrize(("processes", "restarts"), [(0, 0), (-1, 0), (2, -1)])
def test_what_cannot_be_launched_is_refused(processes: int, restarts: int) -> None:
    with pytest.raises(ConfigurationError, match="processes of 1 or more"):
        launch(lambda: None, processes, max_restarts=restarts)


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.train", None)

    with pytest.raises(ConfigurationError, match=r"trackside\[ray\]"):
        launch(lambda: None, 2)


@pytest.mark.peers
@pytest.mark.distributed
@pytest.mark.timeout(600)  # Ray starts its cluster, and the ranks twice
def test_two_processes_of_ray_train_together_and_go_on_after_a_failure(tmp_path: Path) -> None:
    environment = {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "OMP_NUM_THREADS": "1",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # a busy machine
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )

    assert done.returncode == 0, done.stderr
    alone, *ranks = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("alone", 0, 1))
    assert [rank["attempts"] for rank in ranks] == [2, 2], "one failed, and all began again"
    for rank in ranks:
        assert rank["world"] == 2
        assert rank["weights"] == pytest.approx(alone["weights"], rel=1e-12)
