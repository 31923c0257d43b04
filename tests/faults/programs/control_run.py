"""The control: a loop written by hand that passes the fault suite, and with a fault doesn't.

It shows that each test can be passed by somebody else than the trainer it was written for, and that
it notices the fault it is there for. Same data and same words as `long_run.py`, one process.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tests.faults.programs.long_run import Points, Tell, digest

ACCUMULATE, BATCH_SIZE, SAVE_EVERY = 2, 4, 3


@dataclass(frozen=True)
class ControlOptions:
    """One training by hand, and what is wrong with it."""

    directory: str
    epochs: int = 6
    end_after_epoch: int | None = None
    fault: Literal["", "sampler", "random", "digest"] = ""
    """It forgets its position; forgets its generators; doesn't look at digests."""


class NoneIsValid(Exception):
    """There were checkpoints, and none of them is whole."""


class Training:
    """Everything that a checkpoint has to hold."""

    def __init__(self) -> None:
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(11)
        self.model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 60)
        self.epoch = self.batch = self.step = self.batches = 0
        self.rows: list[list[Any]] = []

    def counters(self) -> dict[str, Any]:
        names = ("epoch", "batch", "step", "batches", "rows")
        return {name: getattr(self, name) for name in names}

    def save(self, folder: Path) -> None:
        """Write everything under a temporary name, flush, rename, flush the folder."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for index, state in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        tensors["torch"] = torch.get_rng_state()
        numpy_kind, keys, *numpy_rest = np.random.get_state()
        values = {
            "counters": self.counters(),
            "groups": optimizer["param_groups"],
            "scheduler": self.scheduler.state_dict(),
            "python": random.getstate(),
            "numpy": [numpy_kind, keys.tolist(), *numpy_rest],  # type: ignore[attr-defined]
        }
        files = {"tensors": to_bytes(tensors), "values": json.dumps(values).encode()}
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        files["manifest"] = json.dumps(sums).encode()
        temporary = folder / f".tmp-{self.step:06d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with open(temporary / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        final = folder / f"step-{self.step:06d}"
        if not final.exists():
            temporary.rename(final)
        flush_folder(folder)
        for old in sorted(folder.glob("step-*"))[:-2]:
            shutil.rmtree(old)

    def load(self, folder: Path, fault: str) -> bool:
        """Go on from the newest checkpoint that is whole; False where there is none at all."""
        candidates = sorted(folder.glob("step-*"), reverse=True)
        for candidate in candidates:
            if fault == "digest" or is_whole(candidate):
                self._load(candidate, fault)
                return True
        if candidates:
            raise NoneIsValid(folder)
        return False

    def _load(self, checkpoint: Path, fault: str) -> None:
        tensors = load_tensors((checkpoint / "tensors").read_bytes())
        values = json.loads((checkpoint / "values").read_bytes())
        for name, value in values["counters"].items():
            setattr(self, name, value)
        self.model.load_state_dict(
            {key[6:]: value for key, value in tensors.items() if key.startswith("model.")}
        )
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": values["groups"]})
        self.scheduler.load_state_dict(values["scheduler"])
        if fault == "sampler":
            self.batch = 0
        if fault != "random":
            version, inner, gauss = values["python"]
            random.setstate((version, tuple(inner), gauss))
            np.random.set_state(values["numpy"])
            torch.set_rng_state(tensors["torch"])


def is_whole(checkpoint: Path) -> bool:
    try:
        sums = json.loads((checkpoint / "manifest").read_bytes())
        return len(sums) == 2 and all(
            hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() == digested
            for name, digested in sums.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False  # cut, missing, or no JSON any more


def flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def train(options: ControlOptions, tell: Tell) -> int:
    torch.set_num_threads(1)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    folder, points, run = Path(options.directory), Points(augmented=True), Training()
    run.load(folder, options.fault)
    while run.epoch < options.epochs and run.epoch != options.end_after_epoch:
        order = torch.randperm(
            len(points), generator=torch.Generator().manual_seed(run.epoch)
        ).split(BATCH_SIZE)
        while run.batch < len(order):
            losses = []
            for indices in order[run.batch : run.batch + ACCUMULATE]:
                inputs, targets = (
                    torch.stack(part)
                    for part in zip(*map(points.__getitem__, indices.tolist()), strict=True)
                )
                loss = nn.functional.cross_entropy(run.model(inputs), targets)
                loss.backward()
                losses.append(loss.item())
                run.batch, run.batches = run.batch + 1, run.batches + 1
                seen, bits = digest([inputs])[:16], digest([loss])[:16]
                tell(["batch", run.batches, f"{seen} {bits}"])
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.scheduler.step()
            run.step += 1
            run.rows.append([run.step, *losses])
            tell(["step", run.step])
            if signals:
                break
            if run.step % SAVE_EVERY == 0:
                run.save(folder)
        if signals:
            break
        run.epoch, run.batch = run.epoch + 1, 0
    run.save(folder)
    tell(["end", {"weights": digest(run.model.state_dict().values()), "rows": run.rows}])
    return 128 + signals[0] if signals else 0
