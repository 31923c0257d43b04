"""`MLflow`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.outcome import Outcome, Status
from trackside.tracking.media import Audio, File, Picture, Table, Text, Video
from trackside.tracking.tracker import TrackedRun, Tracker

TAG = "trackside.run"
"""Tag of a run that holds its id here."""
LONGEST_PARAMETER = 500
"""Characters that every store of MLflow takes."""

_STATUS = {
    Status.COMPLETED: "FINISHED",
    Status.STOPPED: "FINISHED",
    Status.INTERRUPTED: "KILLED",
    Status.FAILED: "FAILED",
    Status.DIVERGED: "FAILED",
}


@final
class MLflow(Tracker):
    """Sends records, the configuration, media and files to MLflow.

    The run's id is part of checkpoints: a resumed run goes on under the same id, or is found by its
    tag `trackside.run`, and values that were sent before it was killed aren't sent again. The
    configuration becomes parameters, the outcome a tag and the status. Everything happens in a
    thread: a slow or missing server costs no step. What can't be sent after some attempts is
    reported as a warning.

    Needs `pip install 'trackside[mlflow]'`.

    Args:
        experiment: Name of the experiment; made when it doesn't exist.
        tracking_uri: Where: a server, or a local store such as `sqlite:///mlflow.db`. None leaves
            it to MLflow's own settings and environment.
        name: Name of the run; None takes the name of the run's folder.
        artifacts: Where pictures are kept, for an experiment that is created; None leaves it to
            MLflow.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> MLflow("digits", tracking_uri="sqlite:///mlflow.db")
        MLflow('digits')
    """

    title = "MLflow"
    parameters_at_once = 100
    flush_seconds = 60.0  # a new store first makes its tables: that takes a while

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
        self._client: Any = None
        self._sent: dict[str, frozenset[int]] = {}

    def __repr__(self) -> str:
        return f"MLflow({self.experiment!r})"  # the server's address may hold a password

    def rehearse_in(self, folder: Path) -> bool:
        """Keep a rehearsal in its own store; whether to take part in it."""
        self.tracking_uri, self.artifacts = f"sqlite:///{folder}/mlflow.db", str(folder)
        return True

    def open(self, beginning: TrackedRun) -> None:
        """Make the experiment and the run where they aren't there yet."""
        client = self._mlflow.MlflowClient(self.tracking_uri)
        self._sent = {}
        if self.run_id is None:
            found = client.get_experiment_by_name(self.experiment)
            experiment = (
                found.experiment_id
                if found is not None
                else client.create_experiment(self.experiment, self.artifacts)
            )
            self.run_id = self._known_run(client, experiment, beginning)
            self.goes_on = self.run_id is not None
        if self.run_id is not None:
            client.update_run(self.run_id, status="RUNNING")
        else:
            name, tags = self.run_name or beginning.name, {TAG: beginning.id}
            self.run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self._client = client

    @staticmethod
    def _known_run(client: Any, experiment: str, beginning: TrackedRun) -> str | None:
        """Id of the run that was begun before the checkpoint, if its id isn't part of that."""
        if beginning.step == 0:
            return None
        found = client.search_runs([experiment], f"tags.`{TAG}` = '{beginning.id}'", max_results=1)
        return found[0].info.run_id if found else None

    def was_sent(self, name: str, step: int) -> bool:
        """Whether the store has a value of that step."""
        if name not in self._sent:
            points = self._client.get_metric_history(self.run_id, name)
            self._sent[name] = frozenset(point.step for point in points)
        return step in self._sent[name]

    def write_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Send settings as text that every store takes."""
        param = self._mlflow.entities.Param
        given = [param(key, str(value)[:LONGEST_PARAMETER]) for key, value in parameters.items()]
        self._client.log_batch(self.run_id, params=given)

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Send metrics.

        Raises:
            ValueError: One is infinite: stores take NaN, but no such values.
        """
        if infinite := [name for name, value in values.items() if math.isinf(value)]:
            raise ValueError(f"{', '.join(infinite)}: stores of MLflow take no infinite values")
        metrics = [
            self._mlflow.entities.Metric(name, value, round(unix_time * 1000), record.step)
            for name, value in values.items()
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Keep a picture among the artifacts; one that no file holds becomes one."""
        folder = f"pictures/{name}"
        if picture.path is None:
            self._keep(picture.png(), folder, f"step-{step:010d}.png")
        else:
            self._client.log_artifact(self.run_id, str(picture.path), artifact_path=folder)

    def write_text(self, name: str, text: Text, step: int) -> None:
        """Keep a text among the artifacts."""
        self._client.log_text(self.run_id, text.text, f"texts/{name}/step-{step:010d}.md")

    def write_table(self, name: str, table: Table, step: int) -> None:
        """Keep a table among the artifacts."""
        self._client.log_text(self.run_id, table.csv(), f"tables/{name}/step-{step:010d}.csv")

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        """Keep a sound among the artifacts."""
        self._keep(audio.wav(), f"sounds/{name}", f"step-{step:010d}.wav")

    def write_video(self, name: str, video: Video, step: int) -> None:
        """Keep a film among the artifacts."""
        self._keep(video.gif(), f"films/{name}", f"step-{step:010d}.gif")

    def write_file(self, name: str, file: File, step: int) -> None:
        """Keep a file, or what is in a folder, among the artifacts."""
        if file.path.is_dir():
            self._client.log_artifacts(self.run_id, str(file.path), artifact_path=name)
        else:
            self._client.log_artifact(self.run_id, str(file.path), artifact_path=name)

    def _keep(self, content: bytes, folder: str, name: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            Path(place, name).write_bytes(content)
            self._client.log_artifact(self.run_id, str(Path(place, name)), artifact_path=folder)

    def is_refusal(self, error: Exception) -> bool:
        """Whether the store says that it can't take a name or a value."""
        code = getattr(error, "error_code", None)
        return super().is_refusal(error) or code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")

    def close(self, outcome: Outcome) -> None:
        """Write how the run ended."""
        self._client.set_tag(self.run_id, "outcome", str(outcome))
        self._client.set_terminated(self.run_id, _STATUS[outcome.status])
