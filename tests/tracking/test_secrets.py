"""Secrets of a run reach no file of a tracker, with the packages themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.files import good, write
from trackside import Callback, Run, Secret
from trackside.cli.main import run

# The packages warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

SECRETS = {
    "by its hint": "hunter2-by-its-hint",
    "by the section": "hunter2-by-the-section",
    "by its name": "hunter2-by-its-name",
    "from the environment": "hunter2-from-the-environment",
    "in an override": "hunter2-in-an-override",
}
PLAIN = "this-is-shown"


class Uses(Callback):
    """Takes keys in each of the ways."""

    def __init__(
        self,
        by_hint: Secret,
        by_section: str,
        api_key: str,
        from_environment: str,
        in_override: str,
        plain: str,
    ) -> None:
        self.keys = (by_hint, by_section, api_key, from_environment, in_override)
        self.plain = plain

    def on_fit_start(self, run: Run) -> None:
        assert self.keys == tuple(SECRETS.values())


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import wandb

    monkeypatch.setattr("trackside.secret._values", {})
    monkeypatch.setenv("KEY_OF_SERVICE", SECRETS["from the environment"])
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", "data")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()


@pytest.mark.usefixtures("settings")
def test_no_file_of_a_tracker_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    by_hint, by_section, by_name, _, in_override = SECRETS.values()
    write(
        good(
            more=f"""
secrets: [callbacks.uses.by_section, callbacks.uses.in_override]
callbacks:
  uses:
    kind: {__name__}.Uses
    by_hint: {by_hint}
    by_section: {by_section}
    api_key: {by_name}
    from_environment: ${{oc.env:KEY_OF_SERVICE}}
    in_override: '???'
    plain: {PLAIN}
  tensorboard: {{}}
  wandb: {{project: a, mode: offline}}
  mlflow: {{experiment: a, tracking_uri: "sqlite:///run/mlflow.db"}}
  report: {{}}
  artifacts: {{code: null, configuration: true, report: true}}
"""
        ),
    )
    override = f"callbacks.uses.in_override={in_override}"
    monkeypatch.setattr("sys.argv", ["trackside", "train", "run.yaml", override])

    assert run(["train", "run.yaml", override]) == 0

    # MLflow keeps files where the program was started, in `mlruns`.
    files = [path for place in ("run", "data", "mlruns") for path in Path(place).rglob("*")]
    content = {str(path): path.read_bytes() for path in files if path.is_file()}
    assert {name.split("/")[1] for name in content if PLAIN in content[name].decode("latin-1")} >= {
        "tensorboard",
        "wandb",
        "mlflow.db",
        "artifacts",
        "report.html",
    }
    assert [
        (name, way)
        for name, held in content.items()
        for way, value in SECRETS.items()
        if value.encode() in held
    ] == []
