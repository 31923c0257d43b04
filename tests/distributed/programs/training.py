"""A training on several ranks, disturbed in the way that the first argument says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trackside import Callback, Clip, Run, Settings, StopTraining, Trainer, accuracy
from trackside.callbacks.evaluation.save_predictions import SavePredictions
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.stop_at import StopAt
from trackside.errors import Interrupted, Terminated
from trackside.step.evaluation import EvaluationCallback

RANK = int(os.environ.get("RANK", "0"))
ATTEMPT = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class Slow(Dataset[Any]):
    """Without a fast path, so that loaders with samplers are what is tested."""

    def __init__(self, data: TensorDataset, fails_at: int | None = None) -> None:
        self.data = data
        self.fails_at = fails_at

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        if index == self.fails_at and RANK == 1:
            claim("asked at", time.time())
            raise ValueError("sample 40 is broken")
        return self.data[index]


def data(samples: int, *, slow: bool = False, fails_at: int | None = None) -> Dataset[Any]:
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, 8, generator=generator, dtype=torch.float64)
    whole = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    return Slow(whole, fails_at) if slow or fails_at is not None else whole


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).double()


class Collect(EvaluationCallback):
    """The targets of a data set in its order, and the sum of the scores."""

    def process_batch(self, run: Run, batch: Any) -> Any:
        return {"target": batch[1], "score": run.model(batch[0])}

    def process_results(self, run: Run, results: Any) -> None:
        self.found = (results["target"].tolist(), results["score"].sum().item())


class Disturb(Callback):
    """Does on one rank, at one step, what the test is about."""

    def __init__(self, what: str, at: int = 5) -> None:
        self.what = what
        self.at = at

    def on_fit_start(self, run: Run) -> None:
        rank, _, seconds = os.environ.get("KILL", "").partition(" after ")
        if rank == str(RANK) and ATTEMPT == 0:  # at a moment that nothing in the run decides
            killer = threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL))
            killer.daemon = True
            killer.start()

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed != self.at or ATTEMPT > 0:
            return
        claim("asked at", time.time())
        if self.what == "signal" and str(RANK) == os.environ["SIGNALLED"]:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        if self.what == "swallow":
            if RANK == 1:
                raise ValueError("rank 1 is broken")
            with contextlib.suppress(Exception):
                run.world.barrier()
        if self.what == "collectives" and RANK == 0:
            run.world.barrier()
        if self.what == "collectives" and RANK == 1:
            run.world.all_reduce(torch.ones(2, 3))
        if self.what == "stop" and RANK == 1:
            run.stop("rank 1 has seen enough")
        if self.what == "StopTraining" and RANK == 1:
            raise StopTraining("rank 1 has seen enough")
        if self.what == "different values" and RANK == 1:
            run.stop(f"value {RANK}")
        if self.what == "SIGTERM" and RANK == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.what == "raise" and RANK == 1:
            raise ValueError("rank 1 is broken")
        if self.what == "kill" and RANK == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_end(self, run: Run, metrics: Any) -> None:
        if self.what == "boundary":
            run.stop("an epoch is done")

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        if self.what == "stop in an evaluation" and RANK == 1:
            run.stop("rank 1 saw the evaluation")


class Closing(Callback):
    def on_close(self, run: Run, outcome: Any) -> None:
        claim("closed", outcome.status.value)
        claim("closed at", time.time())


def digest(trainer: Trainer) -> str:
    state = trainer.models["model"].state_dict()
    raw = b"".join(value.detach().cpu().contiguous().numpy().tobytes() for value in state.values())
    return hashlib.sha256(raw).hexdigest()


def die_in_a_write(where: str) -> None:
    """Let this process be killed within its second save: before, amid or after what it writes."""
    from trackside.checkpoint import commit, storage

    saves = 0
    home: Any = commit if where == "publish" else storage
    name = "_publish" if where == "publish" else "write_pieces"
    original = getattr(home, name)

    def write(*arguments: Any) -> Any:
        nonlocal saves
        saves += 1
        if saves == 2 and where in ("before", "publish"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments)
        if saves == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(home, name, write)


def exact_means(directory: Path) -> None:
    """Claims how far loss and accuracy of evaluations are from the means over all samples."""
    trainer = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        metrics={"accuracy": accuracy},
        seed=1,
        settings=Settings(directory=directory),
        defaults=False,
    )
    trainer.fit(data(64), epochs=2, batch_size=16)
    losses, accuracies = [], []
    for samples in (1, 2, 65, 101):
        inputs, target = data(samples).tensors  # type: ignore[attr-defined]
        with torch.no_grad():
            scores = trainer.models["model"].eval()(inputs)
        loss = nn.functional.cross_entropy(scores, target).item()
        right = (scores.argmax(1) == target).double().mean().item()
        for given in (data(samples), data(samples, slow=True)):
            found = trainer.evaluate(given, batch_size=16)
            losses.append(abs(found["test/loss"] - loss))
            accuracies.append(abs(found["test/accuracy"] - right))
    ragged = list(zip(inputs.split([1, 40, 3, 57]), target.split([1, 40, 3, 57]), strict=True))
    found = trainer.evaluate(ragged)
    losses.append(abs(found["test/loss"] - loss))
    accuracies.append(abs(found["test/accuracy"] - right))
    claim("largest error of the loss", max(losses))
    claim("largest error of the accuracy", max(accuracies))


def main() -> None:
    what, directory = sys.argv[1], Path(sys.argv[2])
    if what == "exact means":
        exact_means(directory)
        return
    where = os.environ.get("DIE_IN_WRITE", "")
    if where.startswith(f"{RANK} ") and ATTEMPT == 0:
        die_in_a_write(where.partition(" ")[2])
    workers = int(os.environ.get("WORKERS", "0")) or (1 if what == "workers" else 0)
    accumulate = int(os.environ.get("ACCUMULATE", "3" if what == "accumulate" else "1"))
    slow = what in ("accumulate", "workers") or workers > 0
    train: Any = data(101, slow=slow, fails_at=40 if what == "loader" else None)
    if workers:
        train = DataLoader(train, 16, shuffle=True, num_workers=workers)
    collect = Collect("val")
    callbacks: list[Any] = [Closing(), Disturb(what), collect]
    if what == "time":
        callbacks.append(StopAt(seconds=0.3))
    saves = what in ("checkpoint", "kill", "raise", "SIGTERM", "signal", "boundary")
    if saves:
        callbacks.append(Checkpoint(every="2 steps", keep_last=None))
    trainer = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        metrics={"accuracy": accuracy},
        seed=1,
        accumulate=accumulate,
        clip=Clip(norm=1.0),
        settings=Settings(
            directory=directory,
            log_every="1 step",
            strategy=os.environ.get("PARALLEL", "auto"),
        ),
        defaults=False,
        callbacks=callbacks,
    )
    endless = what in ("time",)
    told: BaseException | None = None
    try:
        trainer.fit(
            train,
            {"val": data(65), "one": data(1)},
            epochs=10_000 if endless else int(os.environ.get("EPOCHS", "3")),
            evaluate_every="1000 epochs" if endless else "1 epoch",
            batch_size=16,
            resume="auto" if saves else None,
        )
    except (Interrupted, Terminated) as error:  # claimed as well, and then told on
        told = error
    result = trainer.result
    assert result is not None
    claim("seconds", result.history[-1].seconds)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]
    claim("outcome", [result.outcome.status.value, result.outcome.step, result.outcome.reason])
    if not endless:
        claim("rows", rows)
        claim("weights", [float(p.double().sum()) for p in _whole(trainer)])
        claim("digest", digest(trainer) if "PARALLEL" not in os.environ else "")
    if what in ("plain", "accumulate"):
        claim("collected", collect.found)
        claim("predicted", trainer.predict(data(37), batch_size=5).flatten().tolist())
        trainer.callbacks.append(SavePredictions("predict"))
        trainer.predict(data(37), batch_size=5, keep=False)
    if told is not None:
        raise told
    sys.exit(result.outcome.exit_code)


def _whole(trainer: Trainer) -> list[torch.Tensor]:
    parameters = trainer.models["model"].parameters()
    return [getattr(p.detach(), "full_tensor", p.detach)() for p in parameters]


if __name__ == "__main__":
    main()
