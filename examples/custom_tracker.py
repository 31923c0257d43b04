"""A tracker of your own: records and the configuration of all runs in a database of SQLite.

python examples/custom_tracker.py
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import torch
from digits_data import SmallCNN, digits
from torch import nn

from trackside import Outcome, Record, Result, Settings, TrackedRun, Tracker, Trainer, accuracy


class SQLite(Tracker):
    """Keeps runs in one database, which outlives their folders.

    All methods are called in one thread, which is not the loop's: they may take their time. What
    fails is tried again, and what a kill interrupted comes again after the resume. Media come by
    methods of their own, `write_picture`, `write_table` and others; one that isn't there is said.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def open(self, beginning: TrackedRun) -> None:
        """Begin the run, or go on with it: `id` is the same over all resumes."""
        self.run_id = beginning.id
        self.database = sqlite3.connect(self.path)
        self.database.executescript(
            "create table if not exists runs (id primary key, name, config, outcome);"
            "create table if not exists metrics (run, step, name, value,"
            " primary key (run, step, name));"
        )
        config = json.dumps(beginning.parameters, default=str)
        row = (beginning.id, beginning.name, config)
        self.database.execute("insert or ignore into runs values (?, ?, ?, null)", row)

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """One row for each value; one that comes again takes the place of the first."""
        rows = [(self.run_id, record.step, name, value) for name, value in values.items()]
        self.database.executemany("insert or replace into metrics values (?, ?, ?, ?)", rows)

    def settle(self) -> None:
        """Called after each piece: from here on it survives a kill."""
        self.database.commit()

    def close(self, outcome: Outcome) -> None:
        """The last call."""
        row = (str(outcome), self.run_id)
        self.database.execute("update runs set outcome = ? where id = ?", row)
        self.database.commit()
        self.database.close()


def main(epochs: int = 3, folder: str | Path = "runs/tracked") -> Result:
    """Train the digits, or go on: a second call with more epochs is the same run."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        SmallCNN,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3),
        metrics={"accuracy": accuracy},
        callbacks=[SQLite(folder / "all.sqlite")],
        settings=Settings(directory=folder / "digits"),
        seed=0,
    )
    return trainer.fit(digits("train"), digits("val"), epochs=epochs, batch_size=64, resume="auto")


if __name__ == "__main__":
    main()
    query = "select step, value from metrics where name = 'val/accuracy' order by step"
    for step, value in sqlite3.connect("runs/tracked/all.sqlite").execute(query):
        print(f"step {step}: {value:.1%} right")
