"""What a trainer does with data, weights and saves of several ranks; each case is a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Clip, Run, Settings, Trainer
from trackside.callbacks import EMA, Checkpoint, LoadWeights, SaveWeights
from trackside.distributed import FSDP, leave
from trackside.step.output import Output

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class Rows:
    """An iterable that nobody knows the length of, of another length on each rank."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        yield from listed(self.batches)


def listed(batches: int) -> list[Any]:
    generator = torch.Generator().manual_seed(RANK)
    rows = torch.randn(batches, 4, 8, generator=generator, dtype=torch.float64)
    return [(inputs, (inputs.sum(1) > 0).long()) for inputs in rows]


def data(samples: int = 30) -> TensorDataset:
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, 8, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 15), nn.Tanh(), nn.Linear(15, 2)).double()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return getattr(tensor.detach(), "full_tensor", tensor.detach)()


def weights(trainer: Trainer) -> list[list[float]]:
    return [whole(p).flatten().tolist() for p in trainer.models["model"].parameters()]


class Tokens(Trainer):
    """Samples have from 0 to 4 tokens; the loss is the mean over tokens."""

    def training_step(self, run: Any, batch: Any) -> Output:
        inputs, target = batch
        tokens = (inputs[:, 0].abs() * 10).long() % 5
        each = nn.functional.cross_entropy(run.model(inputs), target, reduction="none")
        count = tokens.sum()
        return Output((each * tokens).sum() / count.clamp(min=1), weight=count)


class ByHand(Trainer):
    manual_optimization = True

    def training_step(self, run: Any, batch: Any) -> Output:
        loss = nn.functional.cross_entropy(run.model(batch[0]), batch[1])
        self.optimize(loss, run.optimizer)
        return Output(loss)


class Speaks(Callback):
    """Logs under names that only some ranks have."""

    def on_step_end(self, run: Run) -> None:
        run.log(f"of/{RANK}", 10.0 + RANK)
        if RANK == RANKS - 1:
            run.log("last/rank", run.progress.steps_completed)


class Spoils(Callback):
    """Puts a NaN into what the last rank holds of the first weight."""

    def on_step_end(self, run: Run) -> None:
        if RANK == 1 and run.progress.steps_completed == 3:
            part: Any = next(run.model.parameters()).detach()
            part.to_local()[-1] = float("nan")


class Sees(Callback):
    """What the model is made of, before and after it is placed."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_configure_end(self, run: Run) -> None:
        self.seen["without memory"] = all(p.is_meta for p in run.model.parameters())

    def on_fit_start(self, run: Run) -> None:
        self.seen["first"] = [whole(p).flatten().tolist() for p in run.model.parameters()]
        self.seen["dtypes"] = [str(p.dtype) for p in run.model.parameters()]

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.seen["computed in"] = str(output.prediction.dtype)


def trainer(folder: Path, *callbacks: Any, kind: type[Trainer] = Trainer, **more: Any) -> Trainer:
    settings = {"log_every": "1 step", **more.pop("settings", {})}
    options: dict[str, Any] = {
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda p: torch.optim.AdamW(p, lr=0.01),
        "seed": 1,
        "defaults": False,
    }
    return kind(
        more.pop("model", model),
        callbacks=list(callbacks),
        settings=Settings(directory=folder, **settings),
        **(options | more),
    )


def rows(result: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]


def attempt(name: str, run: Callable[[], Any]) -> None:
    """Claim what `run` returns; or the error, after which the ranks have to meet anew."""
    try:
        claim(name, run())
    except Exception as error:
        claim(name, [type(error).__name__, str(error)])
        leave(failed=True)


def tokens(folder: Path, accumulate: int = 1) -> Any:
    one = trainer(folder, kind=Tokens, accumulate=accumulate)
    result = one.fit(data(31), epochs=2, batch_size=8)
    return [rows(result), weights(one)]


def by_hand(folder: Path) -> Any:
    one = trainer(folder, kind=ByHand)
    one.fit(data(31), epochs=1, batch_size=8)
    return weights(one)


def names(folder: Path) -> Any:
    return rows(trainer(folder, Speaks()).fit(data(), epochs=1, batch_size=10))


def unknown_length(folder: Path, parallel: str) -> Any:
    one = trainer(folder, accumulate=2, settings={"strategy": parallel})
    result = one.fit(Rows(7 if RANK else 5), epochs=2)
    return [result.outcome.step, [row["step"] for row in rows(result)], weights(one)]


def other_lengths(folder: Path) -> Any:
    return trainer(folder).fit(listed(3 + RANK), epochs=1).outcome.step


def sharded(folder: Path, **options: Any) -> Any:
    sees = Sees()
    parallel = FSDP(nn.Linear, **options)
    single = {k: v for k, v in options.items() if k == "param_dtype"}
    cast = [lambda m: m] if not single else [lambda m: m.float()]
    one = trainer(
        folder,
        sees,
        EMA(0.9),
        model=lambda: cast[0](model()),
        settings={"strategy": parallel},
        clip=Clip(norm=0.5),
    )
    set_ = data()
    if single:
        set_ = TensorDataset(set_.tensors[0].float(), set_.tensors[1])
    one.fit(set_, set_, epochs=2, batch_size=10)
    return [sees.seen, weights(one)]


def loads_in_the_factory(folder: Path, *, meta_device: bool) -> Any:
    kept = model().state_dict()
    torch.nn.init.ones_(kept["0.weight"])

    def make() -> nn.Module:
        made = model()
        made.load_state_dict(kept)
        return made

    one = trainer(folder, model=make, settings={"strategy": FSDP(meta_device=meta_device)})
    one.fit(data(), steps=1, batch_size=10)
    return round(weights(one)[0][0], 1)


def load_weights(folder: Path) -> Any:
    first = trainer(folder / "first", SaveWeights())
    first.fit(data(), steps=2, batch_size=10)
    sees = Sees()
    load = LoadWeights(folder / "first" / "weights.safetensors")
    trainer(folder, load, sees, settings={"strategy": "fsdp"}).fit(data(), steps=1, batch_size=10)
    return sees.seen["first"] == weights(first)


def spoiled(folder: Path) -> Any:
    saves = Checkpoint("1 epoch")
    one = trainer(folder, Spoils(), saves, settings={"strategy": "fsdp"})
    return one.fit(data(), epochs=1, batch_size=10).outcome.step


def full_disk(folder: Path, policy: Any) -> Any:
    """The save under way fails on rank 1 only, in its thread."""
    from trackside.checkpoint import storage

    original = storage.write_pieces

    def fail(*arguments: Any) -> Any:
        if RANK == 1:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    storage.write_pieces = fail  # type: ignore[assignment]
    ended: list[int] = []

    class Ends(Callback):
        def on_exception(self, run: Run, error: BaseException) -> None:
            ended.append(run.progress.steps_completed)

    try:
        saves = Checkpoint("2 steps", on_save_error=policy, at_end=False)
        one = trainer(folder, saves, Ends())
        return one.fit(data(200), epochs=1, batch_size=2).outcome.step
    finally:
        storage.write_pieces = original
        claim(f"full disk, {policy}: step", ended)


CASES: dict[str, Callable[[Path], Any]] = {
    "tokens": tokens,
    "tokens of two batches": lambda folder: tokens(folder, accumulate=2),
    "by hand": by_hand,
    "names": names,
    "unknown length, ddp": lambda folder: unknown_length(folder, "ddp"),
    "unknown length, fsdp": lambda folder: unknown_length(folder, "fsdp"),
    "sharded": sharded,
    "sharded, offload": lambda folder: sharded(folder, cpu_offload=True),
    "sharded, bf16": lambda folder: sharded(
        folder, param_dtype=torch.bfloat16, reduce_dtype=torch.float32
    ),
    "loads weights": load_weights,
    "loads in the factory, in memory": lambda f: loads_in_the_factory(f, meta_device=False),
    "full disk, warn": lambda folder: full_disk(folder, "warn"),
    "loads in the factory": lambda f: loads_in_the_factory(f, meta_device=True),
    "other lengths": other_lengths,
    "spoiled": spoiled,
    "full disk, raise": lambda folder: full_disk(folder, "raise"),
}
ALONE = ("tokens", "tokens of two batches", "by hand", "sharded")


def main() -> None:
    root = Path(sys.argv[1])
    for name, case in CASES.items():
        if RANKS > 1 or name in ALONE:
            attempt(name, partial(case, root / name))


if __name__ == "__main__":
    main()
