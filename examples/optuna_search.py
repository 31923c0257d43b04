"""A search by Optuna over a program; trials that lag behind are ended early.

pip install 'trackside[search]'
python examples/optuna_search.py

Without a program: trackside sweep examples/digits.yaml 'optimizer.lr=log(1e-4, 1e-1)'
"""

from __future__ import annotations

from pathlib import Path

import optuna
import torch
from digits_data import SmallCNN, digits
from torch import nn

from trackside import Settings, Trainer
from trackside.callbacks import OptunaPruning

EPOCHS = 4
DEFAULTS_THAT_PRINT = ("result", "progress", "summary", "data", "table")


def objective(trial: optuna.Trial, epochs: int = EPOCHS, folder: str = "runs/optuna") -> float:
    """Train with the values of a trial; the best loss on the validation split."""
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    width = trial.suggest_categorical("width", [4, 8])
    trainer = Trainer(
        lambda: SmallCNN(width=width),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=lr),
        callbacks={
            "pruning": OptunaPruning(trial, "val/loss"),
            **dict.fromkeys(DEFAULTS_THAT_PRINT),
        },
        settings=Settings(directory=Path(folder, f"trial-{trial.number}")),
        seed=7,
    )
    result = trainer.fit(digits("train"), digits("val"), epochs=epochs, batch_size=64)
    OptunaPruning.raise_if_pruned(result.outcome)
    best = result.history.best("val/loss")
    assert best is not None
    return best.value


def main(trials: int = 8, epochs: int = EPOCHS, folder: str = "runs/optuna") -> optuna.Study:
    """Search; returns the study."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
    study.optimize(lambda trial: objective(trial, epochs, folder), n_trials=trials)
    return study


if __name__ == "__main__":
    study = main()
    print(f"best: val/loss {study.best_value:.4f} with {study.best_params}")
