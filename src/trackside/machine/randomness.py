"""Random number generators: seed them, photograph them, put them back.

Covers Python's, NumPy's, torch's and those of the accelerators in use.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from trackside.machine.accelerator import (
    accelerator,
    generator_states,
    is_in_use,
    set_generator_states,
)

SEED_LIMIT = 2**32
"""NumPy takes seeds below this."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices) with `seed`, 0 up to 2**32 - 1."""
    random.seed(seed)
    np.random.seed(seed % SEED_LIMIT)
    torch.manual_seed(seed)


def seed_worker(seed: int) -> None:
    """As `seed_everything`, for each batch of a worker process: an eighth of its time.

    `torch.manual_seed` asks all kinds of devices, which takes longer than loading a few images.
    """
    device = accelerator()
    if device is not None and is_in_use(device):
        seed_everything(seed)
        return
    random.seed(seed)
    np.random.seed(seed % SEED_LIMIT)
    torch.default_generator.manual_seed(seed)


def capture() -> dict[str, Any]:
    """The state of every generator, as tensors and plain values."""
    twister = np.random.get_state(legacy=False)
    version, words, next_gauss = random.getstate()
    state: dict[str, Any] = {
        "python": [version, list(words), next_gauss],
        "numpy": {**twister, "state": {**twister["state"]}},
        "torch": torch.get_rng_state(),
    }
    device = accelerator()
    if device is not None:
        state[device.type] = generator_states(device)
    return state


def restore(state: dict[str, Any]) -> None:
    """Put every generator back to what `capture` returned."""
    version, words, next_gauss = state["python"]
    random.setstate((version, tuple(words), next_gauss))
    twister = state["numpy"]
    words = np.asarray(twister["state"]["key"]).tolist()  # NumPy takes an array word by word
    np.random.set_state({**twister, "state": {**twister["state"], "key": words}})
    torch.set_rng_state(state["torch"].cpu())
    device = accelerator()
    if device is not None and device.type in state:
        set_generator_states(device, state[device.type])


@contextmanager
def preserved() -> Iterator[None]:
    """Whatever is drawn inside, the generators stand afterwards where they stood before."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


def derived_seed() -> int:
    """A seed that follows from torch's generator as it stands, without drawing from it."""
    twin = torch.Generator()
    twin.set_state(torch.get_rng_state())
    return int(torch.randint(2**62, (), generator=twin))


def mixed(seed: int, number: int) -> int:
    """The seed of item `number` in a series that begins with `seed`: well mixed, 0 to 2**32 - 1."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def branched(state: dict[str, Any], number: int) -> dict[str, Any]:
    """Another state that follows from `state`, which `capture` returned; one for each `number`."""
    with preserved():
        restore(state)
        seed_everything(mixed(derived_seed(), number))
        return capture()
