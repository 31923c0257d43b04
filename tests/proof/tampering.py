"""Ways to change a run that is over, each as a mistake or a person would."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.proof import programs
from trackside.callbacks.reporting.receipt_contents import CHECKPOINT, digests_of
from trackside.callbacks.reporting.receipt_contents import weights_of_checkpoint as weights_of
from trackside.checkpoint.manifest import read_manifest
from trackside.checkpoint.sealed import seal
from trackside.run_folder import receipts

Tamper = Callable[[Path, random.Random], None]


def checkpoints(run: Path) -> list[Path]:
    return sorted(p for p in (run / "checkpoints").iterdir() if p.name.startswith("step-"))


def record(run: Path, dice: random.Random) -> None:
    """A value of a record is changed."""
    file = run / "history.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    row = dice.choice(rows)
    name = dice.choice([n for n in row if isinstance(row[n], float) and row[n]])
    row[name] *= 0.99
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def weight(run: Path, dice: random.Random) -> None:
    """A bit of the weights in a checkpoint is another one."""
    (file,) = dice.choice(checkpoints(run)).glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-dice.randrange(1, 200)] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def configuration(run: Path, dice: random.Random) -> None:
    """An option in the settings is changed."""
    file = run / "settings.json"
    settings = json.loads(file.read_text())
    settings["seed"] = dice.randrange(1, 1000)
    file.write_text(json.dumps(settings, indent=2) + "\n")


def checkpoint(run: Path, dice: random.Random) -> None:
    """A checkpoint is removed, or is that of another run, whole in itself."""
    chosen = dice.choice(checkpoints(run))
    shutil.rmtree(chosen)
    if dice.random() < 0.5:
        other = run.parent / f"{run.name}-other"
        programs.receipted(str(other), lr=0.01).fit()
        shutil.copytree(other / "checkpoints" / chosen.name, chosen)


TAMPERS: dict[str, tuple[str, Tamper]] = {
    "record": ("records", record),
    "weight": ("checkpoint", weight),
    "configuration": ("configuration", configuration),
    "checkpoint": ("checkpoint", checkpoint),
}
"""By name: the subject that the verification names, and the change."""


def swapped_with_a_new_receipt(run: Path, place: int) -> None:
    """A checkpoint has the weights of another training, and the receipt is computed again."""
    chosen = checkpoints(run)[place]
    other = run.parent / f"{run.name}-forged"
    programs.receipted(str(other), lr=0.01).fit()
    shutil.rmtree(chosen)
    shutil.copytree(other / "checkpoints" / chosen.name, chosen)
    own_id = json.loads((run / "run.json").read_text())["run_id"]
    manifest = json.loads((chosen / "manifest.json").read_text())
    _write_manifest(chosen, {**manifest, "run_id": own_id})
    receipt = receipts.read(run)
    contents = [(one.name, dict(one.content)) for one in receipt.entries]
    for name, content in contents:
        if name == CHECKPOINT + chosen.name:
            content["files"] = digests_of(chosen, read_manifest(chosen)[0])
        elif name == "weights" and content["checkpoint"] == chosen.name:
            content["models"] = weights_of(chosen)
    receipts.write(run, receipts.Receipt.of(contents, None))


def _write_manifest(folder: Path, content: dict[str, Any]) -> None:
    content.pop("digest")
    (folder / "manifest.json").write_bytes(seal(content))
