"""`MLflow`."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any, final

from trackside.callbacks.reporting.flat import flat
from trackside.extras import optional_package
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.tracking.background import BackgroundQueue
from trackside.tracking.media import Picture

LONGEST_PARAMETER = 500
"""Characters that every store of MLflow takes."""
PARAMETERS_AT_ONCE = 100

_STATUS = {
    Status.COMPLETED: "FINISHED",
    Status.STOPPED: "FINISHED",
    Status.INTERRUPTED: "KILLED",
    Status.FAILED: "FAILED",
    Status.DIVERGED: "FAILED",
}


@final
class MLflow(RankZeroCallback):
    """Sends records, the configuration and pictures to MLflow.

    The run's id is part of checkpoints: a resumed run goes on under the same id. The configuration
    becomes parameters, the outcome a tag and the status. Everything happens in a thread: a slow or
    missing server costs no step. What can't be sent after some attempts is reported as a warning.

    Needs `pip install 'trackside[mlflow]'`.

    Args:
        experiment: Name of the experiment; made when it doesn't exist.
        tracking_uri: Where: a server, or a local store such as `sqlite:///mlflow.db`. None leaves
            it to MLflow's own settings and environment.
        name: Name of the run; None takes the name of the run's folder.
        artifacts: Where pictures are kept, for an experiment that is made anew; None leaves it to
            MLflow.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> MLflow("digits", tracking_uri="sqlite:///mlflow.db")
        MLflow('digits')
    """

    runs_in = ("fit",)
    on_error = "warn"

    def __init__(
        self,
        experiment: str = "trackside",
        *,
        tracking_uri: str | None = None,
        name: str | None = None,
        artifacts: str | None = None,
    ) -> None:
        self._mlflow = optional_package("mlflow", needed_by="MLflow", extra="mlflow")
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.run_name = name
        self.artifacts = artifacts
        self.run_id: str | None = None
        """Id of the run at MLflow; None until the store has given one."""
        self._client: Any = None
        self._delivery: BackgroundQueue | None = None

    def __repr__(self) -> str:
        return f"MLflow({self.experiment!r})"  # the server's address may hold a password

    def rehearse_in(self, folder: Path) -> bool:
        """Keep a rehearsal in a store of its own; whether to take part in it."""
        self.tracking_uri, self.artifacts = f"sqlite:///{folder}/mlflow.db", str(folder)
        return True

    def on_attach(self, run: Run) -> None:
        self.run_id = None  # unless a checkpoint brings one

    def on_fit_start(self, run: Run) -> None:
        name = self.run_name or run.directory.name
        start = partial(self._start, name, flat(run.config))
        # A new store first makes its tables: that takes a while.
        self._delivery = BackgroundQueue("MLflow", start, flush_seconds=60.0)

    def on_log(self, run: Run, record: Record) -> None:
        if self._delivery is not None:
            now = round(time.time() * 1000)
            self._delivery.put(partial(self._write, record, now))

    def on_picture(self, run: Run, name: str, picture: Picture) -> None:
        """Keep a picture, if it was written, among the artifacts."""
        path = picture.path
        if self._delivery is not None and path is not None:
            folder = f"pictures/{name}"
            self._delivery.put(
                lambda: self._client.log_artifact(self.run_id, str(path), artifact_path=folder)
            )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._delivery is None:
            return
        delivery, self._delivery = self._delivery, None
        delivery.close(last=partial(self._end, outcome))
        self._client = None

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run_id = state["run_id"]

    # --- in the thread -------------------------------------------------------------------------

    def _start(self, name: str, parameters: dict[str, Any]) -> None:
        client = self._mlflow.MlflowClient(self.tracking_uri)
        if self.run_id is None:
            found = client.get_experiment_by_name(self.experiment)
            experiment = (
                found.experiment_id
                if found is not None
                else client.create_experiment(self.experiment, self.artifacts)
            )
            self.run_id = client.create_run(experiment, run_name=name).info.run_id
            kinds = self._mlflow.entities
            given = [
                kinds.Param(key, str(value)[:LONGEST_PARAMETER])
                for key, value in parameters.items()
            ]
            for begin in range(0, len(given), PARAMETERS_AT_ONCE):
                client.log_batch(self.run_id, params=given[begin : begin + PARAMETERS_AT_ONCE])
        else:
            client.update_run(self.run_id, status="RUNNING")
        self._client = client

    def _write(self, record: Record, milliseconds: int) -> None:
        values = {**record.values, "epoch": float(record.epoch)}
        metrics = [
            self._mlflow.entities.Metric(name, value, milliseconds, record.step)
            for name, value in values.items()
            if math.isfinite(value) or math.isnan(value)
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def _end(self, outcome: Outcome) -> None:
        self._client.set_tag(self.run_id, "outcome", str(outcome))
        self._client.set_terminated(self.run_id, _STATUS[outcome.status])
