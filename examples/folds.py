"""Five folds of the handwritten digits: the mean over runs that never saw their own test images.

python examples/folds.py        # again after Ctrl-C: goes on in the fold where it was

Each fold is a run of its own with a folder of its own; `trackside report runs/folds` lays the five
over each other. The folds are the same each time.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from digits_data import SmallCNN, digits
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from trackside import Settings, Trainer, accuracy

FOLDS = 5
SAMPLES = 1797


def accuracy_of(fold: int, epochs: int, folder: Path) -> float:
    """Train on four fifths, and return the accuracy on the last.

    Args:
        fold: Which fifth is held out, from 0.
        epochs: Of training.
        folder: Where the folders of the runs are.
    """
    data: Dataset[tuple[Tensor, ...]] = ConcatDataset(
        [digits("train"), digits("val"), digits("test")]
    )
    order = np.random.default_rng(0).permutation(SAMPLES)
    held_out = order[fold::FOLDS].tolist()
    kept = np.setdiff1d(order, held_out).tolist()
    trainer = Trainer(
        SmallCNN,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3),
        metrics={"accuracy": accuracy},
        callbacks={"summary": None, "table": None},
        settings=Settings(directory=folder / f"fold-{fold}"),
        seed=fold,
    )
    result = trainer.fit(
        Subset(data, kept), Subset(data, held_out), epochs=epochs, batch_size=64, resume="auto"
    )
    last = result.history.latest("val/accuracy")
    assert last is not None
    return last


def main(epochs: int = 8, folder: Path = Path("runs/folds")) -> list[float]:
    """Train all folds; the accuracy of each."""
    return [accuracy_of(fold, epochs, folder) for fold in range(FOLDS)]


if __name__ == "__main__":
    found = main()
    print(f"accuracy {mean(found):.4f} ± {stdev(found):.4f} over {FOLDS} folds")
