"""Verification of a run against its receipt: the chain, the files, the data, and some training."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from trackside.callbacks.reporting.receipt_contents import (
    CHECKPOINT,
    data_content,
    digests_of,
    files,
    weights_of_checkpoint,
)
from trackside.callbacks.watching.bits import differences
from trackside.checkpoint import candidates, open_checkpoint
from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.manifest import read_manifest
from trackside.errors import TracksideError, UsageError
from trackside.machine.paths import local_path
from trackside.proof.made_again import (
    MadeAgain,
    Way,
    checkpoints_of,
    ended_epochs_of,
    left_out_of,
    made_again,
)
from trackside.proof.retrace import retrace
from trackside.run import Run
from trackside.run_folder import receipts
from trackside.run_folder.receipts import Receipt, SignatureState, sha256_of_file
from trackside.trainer.program import Program

IN_FILES = ("configuration", "code", "environment", "outcome")
"""Entries that are files of the run's folder."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that isn't as the receipt says."""

    subject: str
    """`receipt`, `signature`, `configuration`, `code`, `environment`, `data`, `records`,
    `checkpoint`, `weights`, `outcome` or `training`."""
    what: str
    """One sentence."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}"


@dataclass(slots=True)
class Verification:
    """Result of `verify`."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    signature: SignatureState = "missing"
    checked: list[str] = field(default_factory=list)
    """Checks that were made, in words."""
    not_checked: list[str] = field(default_factory=list)
    """Checks that could not be made, each with the reason."""

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is as the receipt says."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder), "ok": self.ok}


def verify(
    run: str | os.PathLike[str],
    *,
    steps: int = 1000,
    key: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    overrides: Iterable[str] = (),
    program: Program | None = None,
) -> Verification:
    """Check a run that has ended against its receipt, and train one segment of it again.

    Args:
        run: The run's folder; nothing in it is changed.
        steps: Most steps that are trained again: of the segments between two checkpoints (the
            start is one, where the run has a seed) with no more steps, one is drawn. 0 trains none.
        key: The file with the key that the receipt is signed by; without it the signature isn't
            checked.
        seed: Of the draw; None draws another one each time.
        overrides: `key=value`, for what the run was given later: `trainer.epochs=40`.
        program: The trainer and its data, for a run that can't be made again by its folder.

    Raises:
        UsageError: The folder has no receipt.
        ConfigurationError: The key can't be read.

    Example:
        >>> trackside.verify("runs/digits", steps=200).ok  # doctest: +SKIP
        True
    """
    folder = local_path(os.fspath(run), "run")
    receipt = receipts.read(folder)
    done = Verification(folder)
    secret = None if key is None else receipts.key_of(local_path(os.fspath(key), "key"), folder)
    _check_chain(done, receipt, secret)
    if done.problems:  # digests that were changed say nothing about files
        return done
    done.problems += _in_folder(folder, receipt)
    done.checked.append("files of the run, records, checkpoints and final weights")
    if receipt.content("records").get("file") is None:
        done.not_checked.append("records: no file holds all of them")
    if done.problems:
        return done

    try:
        made = made_again(folder, overrides, program)
    except TracksideError as error:
        words = f"the run can't be made again: {error.message}"
        done.not_checked += [f"data: {words}", f"training: {words}"]
        return done
    done.problems += _in_data(made, receipt)
    done.checked.append("data, by samples")
    if not done.problems and steps > 0:
        _train_again(done, made, receipt, steps, random.Random(seed))
    return done


def _check_chain(done: Verification, receipt: Receipt, key: bytes | None) -> None:
    broken = receipt.broken_at()
    if broken is not None:
        what = f"the entry {broken!r} isn't the one that was written: its digest doesn't match"
        done.problems.append(Problem("receipt", what))
    done.signature = receipt.signed_by(key)
    if key is not None and done.signature == "missing":
        done.problems.append(Problem("signature", "the receipt isn't signed"))
    elif done.signature == "wrong":
        what = "it isn't one that this key makes of the receipt"
        done.problems.append(Problem("signature", what))
    done.checked.append("the chain of the receipt")


# --- what lies in the folder ---------------------------------------------------------------------


def _in_folder(folder: Path, receipt: Receipt) -> Iterator[Problem]:
    for subject in IN_FILES:
        listed: Mapping[str, str] = receipt.content(subject).get("files", {})
        yield from _of_files(subject, listed, files(folder, listed)["files"])
    records = receipt.content("records")
    name = records.get("file")
    if name is not None and sha256_of_file(folder, name) != records.get("sha256"):
        yield Problem("records", f"{name} isn't the file that the run wrote")
    listed_names = {e.name for e in receipt.entries if e.name.startswith(CHECKPOINT)}
    for entry in receipt.entries:
        if entry.name in listed_names:
            yield from _of_checkpoint(folder, entry.name.removeprefix(CHECKPOINT), entry.content)
    for root in {folder / str(receipt.content(name)["folder"]) for name in listed_names}:
        for one in candidates(root, run_id=str(receipt.content("run").get("id"))):
            if CHECKPOINT + one.path.name not in listed_names:
                yield Problem("checkpoint", f"{one.path.name} isn't in the receipt")
    yield from _of_weights(folder, receipt)


def _of_files(
    subject: str, listed: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[Problem]:
    for name, digest in listed.items():
        if name not in found:
            yield Problem(subject, f"{name} is missing")
        elif found[name] != digest:
            yield Problem(subject, f"{name} has changed since the run ended")


def _of_checkpoint(folder: Path, name: str, content: Mapping[str, Any]) -> Iterator[Problem]:
    path = folder / str(content["folder"]) / name
    try:
        manifest, _ = read_manifest(path)
    except DamagedCheckpointError as error:
        yield Problem("checkpoint", f"{name}: {'; '.join(error.problems)}")
        return
    found = digests_of(path, manifest)
    for file, listed in content["files"].items():
        if file not in found or found[file]["sha256"] is None:
            yield Problem("checkpoint", f"{name}: {file} is missing")
        elif found[file] != listed:
            yield Problem("checkpoint", f"{name}: {file} has changed since the run ended")


def _of_weights(folder: Path, receipt: Receipt) -> Iterator[Problem]:
    """The checkpoint that held the final weights has to hold them still."""
    weights = receipt.content("weights")
    name = str(weights.get("checkpoint"))
    content = receipt.content(CHECKPOINT + name)
    if not content:  # no checkpoint held them
        return
    found = weights_of_checkpoint(folder / str(content["folder"]) / name)
    if found is not None and found != weights["models"]:  # a damaged one is reported as such
        yield Problem("weights", f"{name} doesn't hold those that the run ended with")


# --- data ----------------------------------------------------------------------------------------


def _in_data(made: MadeAgain, receipt: Receipt) -> Iterator[Problem]:
    listed = receipt.content("data")
    for name, data in made.data.items():
        if name in listed and data_content(data) != listed[name]:
            yield Problem("data", f"the data named {name!r} isn't the one that the run had")


# --- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Segment:
    """Steps between two checkpoints."""

    begins: Path | None
    """None: at the start of the run."""
    begins_after: int
    ends: Path
    ends_after: int

    @property
    def steps(self) -> int:
        return self.ends_after - self.begins_after


def segments(made: MadeAgain, receipt: Receipt) -> list[_Segment]:
    """The segments between neighbouring checkpoints of a receipt; the first from the start."""
    places: list[tuple[Path | None, int]] = []
    if made.trainer.seed is not None and receipt.content("run").get("continues") is None:
        places.append((None, 0))
    for entry in receipt.entries:
        if entry.name.startswith(CHECKPOINT) and not entry.content.get("left_behind"):
            name = entry.name.removeprefix(CHECKPOINT)
            path = made.folder / str(entry.content["folder"]) / name
            places.append((path, int(entry.content["step"])))
    return [
        _Segment(begins, first, ends, last)
        for (begins, first), (ends, last) in pairwise(places)
        if last > first and ends is not None
    ]


def _train_again(
    done: Verification, made: MadeAgain, receipt: Receipt, steps: int, dice: random.Random
) -> None:
    if int(receipt.content("run").get("ranks", 1)) > 1:
        done.not_checked.append("training: the run was one of several ranks")
        return
    found = [one for one in segments(made, receipt) if one.steps <= steps]
    if not found:
        words = f"training: no segment of at most {steps} steps lies between two checkpoints"
        done.not_checked.append(words)
        return
    segment = dice.choice(found)
    words = f"steps {segment.begins_after + 1} to {segment.ends_after}"
    different: list[str] = []

    def arrived(run: Run) -> None:
        different.extend(_differences(run, open_checkpoint(segment.ends).state()))

    left_out = left_out_of(made, checkpoints_of(made))
    ended = ended_epochs_of(made)
    way = Way(segment.ends_after, segment.begins, segment.begins_after, left_out, ended)
    try:
        retrace(made, way, arrived=arrived)
    except UsageError as error:
        done.not_checked.append(f"training: {words} can't be trained again: {error.message}")
        return
    except TracksideError as error:
        done.problems.append(Problem("training", f"{words}, trained again, fail: {error.message}"))
        return
    if different:
        more = f", and {len(different) - 1} tensors more" if len(different) > 1 else ""
        what = f"{words}, trained again, end elsewhere than {segment.ends.name}: {different[0]}"
        done.problems.append(Problem("training", what + more))
    done.checked.append(f"training: {words}, trained again")


def _differences(run: Run, saved: Mapping[str, Any]) -> Iterator[str]:
    """Tensors of models and optimizers that aren't bitwise those of a checkpoint."""
    now: dict[str, Any] = {
        "the weight": {name: model.state_dict() for name, model in run.models.items()},
        "the state": {name: one.state_dict()["state"] for name, one in run.optimizers.items()},
    }
    before = {
        "the weight": saved["models"],
        "the state": {name: one["state"] for name, one in saved["optimizers"].items()},
    }
    for what, parts in before.items():
        found = differences(what, dict(_tensors("", parts)), dict(_tensors("", now[what])))
        yield from map(str, found)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value.cpu()
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}" if name else str(key), part)
