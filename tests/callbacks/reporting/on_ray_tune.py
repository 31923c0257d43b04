"""Trials of Ray Tune: one that Tune ends, one that fails once and goes on, one left alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def train(config: dict[str, Any]) -> None:
    """One trial."""
    from trackside import Callback, Run, Settings, Trainer
    from trackside.callbacks import Checkpoint, RayTune
    from trackside.testing import tiny_classification

    folder = Path(config["folder"]) / config["name"]
    first = not folder.exists()

    class Breaks(Callback):
        def on_step_end(self, run: Run) -> None:
            if config["name"] == "fails" and first and run.progress.steps_completed == 5:
                raise ValueError("broken once")

    task = tiny_classification()
    trainer = Trainer(
        lambda: task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[Checkpoint("1 epoch"), RayTune(checkpoint=True), Breaks()],
        settings=Settings(directory=folder / ("first" if first else "second")),
        defaults=False,
        seed=0,
    )
    begins_from = RayTune.last_checkpoint()  # until the first report
    result = trainer.fit(task.train, task.validation, epochs=4, resume=begins_from)
    (folder / "end.json").write_text(
        json.dumps({"end": str(result.outcome), "resumed": begins_from is not None})
    )


def main() -> None:
    """Claims what Tune knows of each trial."""
    import ray
    from ray import tune

    folder = sys.argv[1]
    ray.init(num_cpus=1, include_dashboard=False)
    tuner = tune.Tuner(
        train,
        param_space={
            "folder": folder,
            "name": tune.grid_search(["alone", "fails", "ended"]),
        },
        tune_config=tune.TuneConfig(metric="val/loss", mode="min"),
        run_config=tune.RunConfig(
            storage_path=str(Path(folder) / "of-ray"),
            failure_config=tune.FailureConfig(max_failures=1),
            stop=lambda trial, result: result["config"]["name"] == "ended" and result["epoch"] == 2,
        ),
    )
    told = {}
    for one in tuner.fit():
        name = one.config["name"]
        kept = None if one.checkpoint is None else Path(one.checkpoint.path).iterdir()
        told[name] = {
            "error": None if one.error is None else str(one.error),
            "loss": one.metrics["val/loss"],
            "epoch": one.metrics["epoch"],
            "step": one.metrics["step"],
            "checkpoint": sorted(file.name for file in kept or ()),
        }
    (Path(folder) / "told.json").write_text(json.dumps(told))
    ray.shutdown()


if __name__ == "__main__":
    main()
