"""A checkpoint that the first version wrote, before the modules moved, still goes on exactly.

`first_format/run` was saved at step 17, in the middle of an epoch, by the version of 2026-11; the
losses beside it are those of the same run that was never stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Callback, Run, Scheduler, Settings, Trainer, accuracy
from trackside.callbacks import EMA, Checkpoint, EarlyStopping

SAVED = Path(__file__).with_name("first_format")


class Losses(Callback):
    """Collects the loss of every batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        self.seen.append(float(loss))


def data() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=generator)
    target = (inputs.sum(1) > 0).long()
    return TensorDataset(inputs[:32], target[:32]), TensorDataset(inputs[32:], target[32:])


@pytest.mark.skipif(
    torch.__version__ < "2.8", reason="the losses are torch 2.13's, whose dropout draws otherwise"
)
def test_a_run_of_the_first_version_goes_on_where_it_stopped(tmp_path: Path) -> None:
    shutil.copytree(SAVED / "run", tmp_path / "run")
    expected = json.loads((SAVED / "expected.json").read_text())
    losses = Losses()
    train, validation = data()
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        scheduler=Scheduler(lambda o: torch.optim.lr_scheduler.StepLR(o, 3), interval="epoch"),
        metrics={"accuracy": accuracy},
        callbacks=[
            Checkpoint("5 steps", keep_last=1),
            EMA(0.9),
            EarlyStopping("val/loss", patience=9),
            losses,
        ],
        settings=Settings(directory=tmp_path / "run", device="cpu", log_every="2 steps"),
        seed=3,
    )

    result = trainer.fit(train, validation, steps=30, batch_size=5, resume="auto")

    # Bits differ between processors; another order, dropout or state is off by far more.
    assert losses.seen == pytest.approx(expected["losses"][17:], abs=1e-6)
    assert result.history.values("val/loss") == pytest.approx(expected["val"], abs=1e-6)
    assert len(result.history) == expected["records"]
