"""What holds for every test: one thread, its own empty folder, no deadline but the suite's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Before torch is imported anywhere: figures must not depend on how sums are split over threads, and
# two test processes must not fight over two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import hypothesis.configuration
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Found examples are kept in the repository's folder, wherever the test stands when they are found.
hypothesis.configuration.set_hypothesis_home_dir(REPOSITORY / ".hypothesis")

# No deadline: a busy machine is not a failure. Derandomised in CI: the same commit, the same
# verdict; elsewhere each run looks at new examples.
hypothesis.settings.register_profile("trackside", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.register_profile(
    "ci", hypothesis.settings.get_profile("trackside"), derandomize=True, database=None
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "trackside")

SLOW_TEST_TIMEOUT_SECONDS = 3600


def pytest_configure() -> None:
    """Signals are heard, and models train on the device of `TRACKSIDE_TEST_DEVICE`.

    Processes that tests start inherit both. A shell starts what runs in the background with SIGINT
    ignored, and `nohup` SIGHUP.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    device = os.environ.get("TRACKSIDE_TEST_DEVICE", "cpu")
    if device in ("cpu", "standin"):
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["ZE_AFFINITY_MASK"] = ""
    if device == "standin":
        import tests.device  # noqa: F401 - before anything is computed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TEST_TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def only_on_a_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test marked `cpu` says what is true on a CPU only: for it, there is nothing else."""
    standin = os.environ.get("TRACKSIDE_TEST_DEVICE") == "standin"
    lacking, cpu = map(request.node.get_closest_marker, ("not_standin", "cpu"))
    for marker in filter(None, (lacking, cpu)):
        if not marker.args:
            raise pytest.UsageError(f"the marker `{marker.name}` must say its reason")
    if standin and lacking is not None:
        pytest.skip(f"the stand-in accelerator lacks {lacking.args[0]}")
    if cpu is not None:
        monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test starts in an empty folder of its own: no run writes into the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
