"""Pictures, an exported model and checkpoints around a decay, on several ranks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from claims import claim
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Scheduler, Settings, Trainer
from trackside.callbacks import (
    AttentionMaps,
    Checkpoint,
    ExportModel,
    FeatureMaps,
    PlotHistory,
    PredictionImages,
    SampleImages,
    StableDecayCheckpoints,
)
from trackside.callbacks.scheduling.warmup_stable_decay import WarmupStableDecayLR

PARALLEL = os.environ["PARALLEL"]


class Looker(nn.Module):
    """Images of shape `(B, 1, 4, 4)` to scores of shape `(B, 2)`."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 2, stride=2)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        places = self.cut(images).flatten(2).transpose(1, 2)
        seen, _ = self.attend(places, places, places, need_weights=False)
        scores: Tensor = self.head(seen.mean(dim=1))
        return scores


def data(samples: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(samples)
    return TensorDataset(
        torch.rand(samples, 1, 4, 4, generator=generator), torch.arange(samples) % 2
    )


def main(folder: Path) -> None:
    images = PredictionImages(count=5, every="1 epoch")
    callbacks = [
        Checkpoint(None, at_end=False, keep_last=1),
        StableDecayCheckpoints(),
        images,
        PlotHistory(),
        FeatureMaps(count=3),
        AttentionMaps(),
        SampleImages(count=2, latent=[1, 4, 4], shape=[1, 2]),
    ]
    if PARALLEL == "ddp":
        callbacks.append(ExportModel())
    trainer = Trainer(
        Looker,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=Scheduler(lambda o: WarmupStableDecayLR(o, 1, 4, 4), interval="step"),
        callbacks=callbacks,
        defaults=False,
        seed=1,
        settings=Settings(directory=folder, strategy=PARALLEL),
    )
    result = trainer.fit(data(24), data(9), epochs=2, batch_size=4)
    claim("failed callbacks", dict(result.failed_callbacks))
    claim("samples", images._batch[1].tolist())
    claim("first image", images._batch[0][0].flatten().tolist())
    claim("saved", sorted(path.name for path in (folder / "checkpoints").glob("step-*")))
    if PARALLEL == "fsdp":  # sharded models are refused
        claim("exported", not (folder / "model.pt2").exists())
    else:
        program = torch.export.load(folder / "model.pt2").module()
        inputs = data(3).tensors[0]
        model = trainer.models["model"].eval()
        claim("exported", torch.allclose(program(inputs), model(inputs), atol=1e-6))


main(Path(sys.argv[1]))
