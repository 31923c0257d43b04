"""Trains in one process, then in two that Ray starts, of which one fails in its first attempt."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def train(folder: Path, name: str) -> None:
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    from trackside import Callback, Run, Settings, Trainer
    from trackside.callbacks import Checkpoint

    rank = os.environ.get("RANK", "0")
    attempts = folder / f"{name}-attempts-{rank}"
    with attempts.open("a") as file:
        file.write("attempt\n")
    first = len(attempts.read_text().splitlines()) == 1
    seen = {}

    class Breaks(Callback):
        def on_step_end(self, run: Run) -> None:
            seen["world"] = run.world.size
            if run.world.rank == 1 and first and run.progress.steps_completed == 12:
                raise ValueError("rank 1 is broken")

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(61, 8, generator=generator, dtype=torch.float64)
    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    trainer = Trainer(
        lambda: nn.Linear(8, 2).double(),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        seed=1,
        defaults=False,
        callbacks=[Checkpoint("1 epoch"), Breaks()],
        settings=Settings(directory=folder / name, device="cpu"),
    )
    trainer.fit(data, data, epochs=3, batch_size=8, resume="auto")
    told = {
        "attempts": len(attempts.read_text().splitlines()),
        "weights": trainer.models["model"].weight.flatten().tolist(),  # type: ignore[operator]
        **seen,
    }
    (folder / f"{rank if name == 'ray' else name}.json").write_text(json.dumps(told))


def main() -> None:
    import ray

    from trackside.distributed.ray import launch

    folder = Path(sys.argv[1])
    train(folder, "alone")
    ray.init(num_cpus=2, include_dashboard=False)
    launch(lambda: train(folder, "ray"), 2, max_restarts=1, storage=str(folder / "of-ray"))
    ray.shutdown()


if __name__ == "__main__":
    main()
