"""Comparison of a resumed run with the one that was saved.

A checkpoint wins over the program in some things (options of optimizers, seeds), the program over
the checkpoint in others (batch size, precision). Each difference is reported once, with the side
that wins and how to choose. The position within an epoch is kept in samples where the batch size
has changed.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import RandomSampler

from trackside.data.loaders import batch_size_of, length_of
from trackside.data.seekable import SeekableSampler
from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader
from trackside.errors import CheckpointError
from trackside.lifecycle.adoption import Adopted
from trackside.lifecycle.description import described
from trackside.loop.state import TRAIN, Training
from trackside.step.scheduler_state import SET_BY_SCHEDULERS

logger = logging.getLogger("trackside")

Conditions = dict[str, Any]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OF_SCHEDULERS = ("params", *SET_BY_SCHEDULERS)
"""Keys of a group that aren't options of the optimizer."""
_PROGRAM_WINS = {
    "precision": "the number format",
    "accumulate": "batches per step",
    "clip": "the limit of gradients",
}
"""Settings that hold as they are given now, by their name in `run.config`."""


def conditions(training: Training) -> Conditions:
    """Parts of a run that a resume compares, as plain values."""
    return {
        "optimizers": {name: _options(one) for name, one in training.run.optimizers.items()},
        "data": _described(training.setup.sources[TRAIN]),
        "callbacks": {
            name: _ADDRESS.sub("", described(one.foreign if isinstance(one, Adopted) else one))
            for name, one in training.run.callbacks.items()
        },
    }


def _options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Options of each group, the learning rate as it was before a scheduler moved it."""
    return [
        {
            name: _plain(group.get("initial_lr", value) if name == "lr" else value)
            for name, value in group.items()
            if name not in _OF_SCHEDULERS
        }
        for group in optimizer.param_groups
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def _described(source: DataSource) -> dict[str, Any]:
    loader = source.loader
    sampler = getattr(loader, "sampler", None)
    return {
        "batch_size": batch_size_of(loader),
        "samples": source.samples,
        "batches": length_of(loader),
        "shuffled": isinstance(sampler, RandomSampler) if sampler is not None else None,
    }


def _can_begin_inside(loader: object) -> bool:
    """Whether a pass can be taken up within a batch."""
    stand_ins = (TensorLoader, SeekableSampler)
    return isinstance(loader, stand_ins) or isinstance(
        getattr(loader, "batch_sampler", None), stand_ins
    )


def compare(training: Training, saved: Conditions | None, config: Mapping[str, Any]) -> bool:
    """Tell once what differs from the checkpoint, and keep the place within the epoch.

    Args:
        training: Put back to the checkpoint.
        saved: What the run was built with that saved it; None where the checkpoint doesn't say.
        config: Its settings.

    Returns:
        Whether anything differs.

    Raises:
        CheckpointError: The batch size has changed, and the data can't begin where it stopped.
    """
    run = training.run
    training.position.begun = (0, 0)
    lines = list(_settings(run.config, config))
    if saved is not None:
        now = conditions(training)
        for name in now["optimizers"].keys() & saved["optimizers"].keys():
            built = training.position.built["optimizers"][name]
            lines += _of_optimizer(name, saved["optimizers"][name], built, now["optimizers"][name])
        lines += _of_data(training, saved["data"], now["data"])
        built = training.position.built  # before any state was put back
        lines += _of_callbacks(saved.get("callbacks", {}), built["callbacks"])
        training.position.built = {
            **training.position.built,
            "optimizers": {**now["optimizers"], **saved["optimizers"]},
        }
    if lines and run.world.is_global_zero:
        logger.warning("resumed with what differs from the checkpoint:\n  %s", "\n  ".join(lines))
    return bool(lines)


def same_options(now: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether a run was given the same options, but for its folder and when it records."""
    return _options_of(now) == _options_of(saved)


def _options_of(config: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in config.items() if name != "log_every"}
    experiment = dict(kept.get("experiment") or {})
    trainer = dict(experiment.get("trainer") or {})
    experiment["trainer"] = {n: v for n, v in trainer.items() if n not in ("directory", "resume")}
    return json.dumps({**kept, "experiment": experiment}, sort_keys=True, default=_as_plain)


def _as_plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _settings(now: Mapping[str, Any], saved: Mapping[str, Any]) -> Iterator[str]:
    for name, noun in _PROGRAM_WINS.items():
        if name in now and name in saved and now[name] != saved[name]:
            yield f"{noun} is {name}={now[name]} from now on, as it is given; it was {saved[name]}"
    if now.get("seed") != saved.get("seed") and "seed" in saved:
        yield (
            f"seed={now.get('seed')} has no effect: random generators go on as they were saved "
            f"(seed={saved['seed']})"
        )


def _of_optimizer(name: str, saved: Any, built: Any, now: Any) -> Iterator[str]:
    for number, (before, after, held) in enumerate(zip(saved, built, now, strict=False)):
        group = f" of group {number}" if len(built) > 1 else ""
        for option in before.keys() & after.keys():
            was, given = _plain(before[option]), after[option]
            if was != given != held.get(option):  # a scheduler that starts fresh has its own rate
                yield (
                    f"the optimizer {name!r} goes on with {option}={was}{group}, as it was saved, "
                    f"not with {option}={given}; to choose the other: `trackside ask RUN set "
                    f"{name}.{option}={given}` while it runs, or start again from the weights "
                    "with the callback `LoadWeights`"
                )


def _of_callbacks(saved: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in now.keys() & saved.keys():
        if now[name] != saved[name]:
            yield (
                f"the callback {name!r} is {now[name]} from now on, as it is given, with the state "
                f"that was saved; it was {saved[name]}"
            )


def _of_data(training: Training, saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    inside = training.position.phase == "training"
    size, was = now["batch_size"], saved["batch_size"]
    if size and was and size != was:
        if inside:
            _keep_place(training, was, size, saved["begun"])
        goes_on = "; the epoch goes on at the same sample" if inside else ""
        yield f"batches have {size} samples from now on, as it is given; they had {was}{goes_on}"
    elif inside and size == was:
        training.position.begun = (saved["begun"][0], saved["begun"][1])
    other_order = saved["shuffled"] != now["shuffled"]
    noun = "samples" if None not in (now["samples"], saved["samples"]) else "batches"
    given, before = now[noun], saved.get(noun)  # older checkpoints know no batches
    comparable = noun == "samples" or (noun in saved and size == was)
    other_length = comparable and given != before
    if other_order or other_length:
        known = f"{given} {noun}, they were {before}"
        order = f"shuffled: {now['shuffled']}, it was {saved['shuffled']}"
        what = ", ".join([known] * other_length + [order] * other_order)
        lost = inside and (other_order or now["shuffled"])
        yield f"the training data is taken as it is given now ({what})" + (
            "; in the epoch under way some samples come twice and others not at all: to avoid "
            "that, resume from a checkpoint of the end of an epoch"
            if lost
            else ""
        )


def _keep_place(training: Training, was: int, size: int, begun: Any) -> None:
    """Count the batches done of the epoch under way in batches of another size."""
    progress, source = training.run.progress, training.setup.sources[TRAIN]
    done = progress.epoch_batches_completed
    samples = done * was + (begun[1] if begun[0] == done else 0)
    if source.samples is not None:
        samples = min(samples, source.samples)
    whole, rest = divmod(samples, size)
    left_out = any(rollback.left_out for rollback in training.run.rollbacks)
    if left_out or (rest and not _can_begin_inside(source.loader)):
        why = "batches are left out by number" if left_out else "it can't begin inside a batch"
        raise CheckpointError(
            f"the epoch under way can't go on at sample {samples} in batches of {size}: {why}",
            expected=f"batches of {was} samples, as it was saved"
            + ("" if left_out else f", or a size that divides {samples}"),
            remedy="resume with that size, or from a checkpoint of the end of an epoch",
        )
    progress.batches_before_epoch = progress.batches_completed - whole
    training.position.begun = (whole, rest)
