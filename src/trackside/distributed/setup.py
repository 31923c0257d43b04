"""Joining the other ranks, and leaving them so that no exit crashes or hangs."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trackside.distributed import abandoned
from trackside.distributed.lifeline import Lifeline
from trackside.distributed.links import Connections, Links
from trackside.distributed.world import World
from trackside.errors import ConfigurationError
from trackside.machine.accelerator import accelerator

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_FOREVER = timedelta(days=3650)
_POLL_SECONDS = 0.02
_FREE_SECONDS = 2.0

LEAVE_SECONDS = 30.0
"""How long a rank that is done waits for the others before it leaves alone."""


@dataclass(frozen=True, slots=True)
class RankInfo:
    """Where this process stands among all, as the launcher says it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    attempt: int = 0
    """How often the launcher has restarted the job."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> RankInfo:
        """Read torchrun's variables; without `WORLD_SIZE`, one process.

        Raises:
            ConfigurationError: Some are set and others aren't, or one is not a number.
        """
        if "WORLD_SIZE" not in environment:
            return cls()
        missing = [name for name in _NEEDED if not environment.get(name)]
        if missing:
            raise ConfigurationError(
                "the environment names a world of processes, but not how to join it",
                expected=", ".join(_NEEDED),
                received=f"no {', '.join(missing)}",
                remedy="start with torchrun or `trackside train --processes`, or unset WORLD_SIZE",
            )
        place = cls(
            rank=_number(environment, "RANK"),
            size=_number(environment, "WORLD_SIZE"),
            local_rank=_number(environment, "LOCAL_RANK", 0),
            attempt=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
        )
        if not 0 <= place.rank < place.size:
            raise ConfigurationError(
                "RANK must be one of the world's",
                expected=f"0 to {place.size - 1}",
                received=str(place.rank),
            )
        return place


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ConfigurationError(
            f"the environment's {name} is not a number",
            expected="a whole number",
            received=repr(text),
        ) from None


_store: Any = None
_generation = 0
_joined: World | None = None


def join(
    device: torch.device | str | int | None = None,
    *,
    place: RankInfo | None = None,
    timeout_seconds: float = 1800.0,
) -> World:
    """Join the ranks that the launcher started, or make a world of just this process.

    Called again, it returns the same world until `leave`. A process group that exists already is
    used as it is, and left alone at the end.

    Args:
        device: Device of this rank; None takes the accelerator of its local rank, or the CPU.
        place: Where this process stands; None reads the environment.
        timeout_seconds: After how long a collective that nobody answers is an error.

    Raises:
        ConfigurationError: The environment is incomplete, or there are fewer accelerators than
            processes on this machine.
    """
    global _joined
    if _joined is not None:
        return _joined
    exists = dist.is_available() and dist.is_initialized()
    place = place or RankInfo.from_environment()
    if exists:
        place = RankInfo(dist.get_rank(), dist.get_world_size(), place.local_rank, place.attempt)
    own_device = device_of(place.local_rank, device)
    if place.size == 1:
        return World(local_rank=place.local_rank, device=own_device)
    abandoned.free_beside()
    links = _link(place, own_device, timedelta(seconds=timeout_seconds), exists)
    _joined = World(
        place.rank, place.size, local_rank=place.local_rank, device=own_device, links=links
    )
    return _joined


def device_of(local_rank: int, wanted: torch.device | str | int | None = None) -> torch.device:
    """The device of a rank: `wanted`, else its accelerator, else the CPU.

    Raises:
        ConfigurationError: There is no accelerator of that number.
    """
    device = torch.device(wanted) if wanted is not None else accelerator() or torch.device("cpu")
    if device.type == "cpu" or ":" in str(device):
        return device
    count = torch.accelerator.device_count()
    if local_rank >= count:
        raise ConfigurationError(
            f"local rank {local_rank} has no accelerator",
            expected=f"at most {count} processes on this machine",
            received=f"at least {local_rank + 1}",
            remedy=f"start at most {count} processes, or train on device='cpu'",
        )
    return torch.device(device.type, local_rank)


def _link(place: RankInfo, device: torch.device, timeout: timedelta, exists: bool) -> Links:
    global _store, _generation
    if _store is None:
        _store = dist.distributed_c10d._get_default_store() if exists else _meet(place, timeout)
    # Its own prefix per world: a second one over the same store would meet the addresses
    # that the first left there, and wait for ranks that are gone.
    _generation += 1
    store = PrefixStore(f"trackside/{place.attempt}/{_generation}", _store)
    connections, lifelines = Connections(), Connections()
    with connections.recorded():
        if not exists:
            _start_main_group(place, device, store, timeout)
        side = dist.new_group(backend="gloo", timeout=timeout)
        dist.barrier(group=side)
    with lifelines.recorded():
        ring = dist.new_group(backend="gloo", timeout=_FOREVER)
        dist.barrier(group=ring)
    atexit.register(leave)
    return Links(
        side=side,
        lifeline=Lifeline(ring, lifelines, place.rank, place.size),
        store=store,
        connections=connections,
        owned=not exists,
    )


def _meet(place: RankInfo, timeout: timedelta) -> Store:
    """The store that the launcher names; without a launcher's own, rank 0 hosts it."""
    store, _, _ = next(iter(rendezvous("env://", place.rank, place.size, timeout=timeout)))
    found: Store = store
    return found


def _start_main_group(
    place: RankInfo, device: torch.device, store: Store, timeout: timedelta
) -> None:
    backend, device_id = "gloo", None
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)
        # Gloo beside it in the same group, for what stays on the CPU (offloaded shards).
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
        device_id = device
    dist.init_process_group(
        backend,
        store=store,
        rank=place.rank,
        world_size=place.size,
        timeout=timeout,
        device_id=device_id,
    )


def leave(*, failed: bool | None = None, patience_seconds: float = LEAVE_SECONDS) -> None:
    """Leave the world that `join` made; a no-op without one. Called at exit by itself.

    Ranks that are done meet first, so that none takes down a connection that another still reads,
    but nobody waits for a rank that has died or failed, nor longer than `patience_seconds`.

    Args:
        failed: Whether to leave at once, without meeting; None finds out: a collective was cut,
            or the program is ending with an error.
        patience_seconds: Longest wait for the others.
    """
    global _joined
    world, _joined = _joined, None
    atexit.unregister(leave)
    if world is None or world.links is None:
        return
    links = world.links
    if failed is None:
        failed = links.connections.cut or getattr(sys, "last_value", None) is not None
    met = _meet_at_the_end(world, links, 0.0 if failed else patience_seconds)
    if not met:
        links.connections.abandon(_groups())
        links.connections.sever()
    links.lifeline.close(together=met)
    abandoned.wait(_FREE_SECONDS)
    _take_down(links, met)
    if met:
        _wait_as_host(world, links.store, patience_seconds)


def _groups() -> list[dist.ProcessGroup]:
    """All groups of this process, those of the user too (a device mesh, say)."""
    return list(dist.distributed_c10d._world.pg_map)


def _meet_at_the_end(world: World, links: Links, patience_seconds: float) -> bool:
    """Whether every rank came here, too, and none had a failure."""
    store = links.store
    deadline = time.monotonic() + patience_seconds
    try:
        if patience_seconds and store.add("leaving", 1) == world.size:
            store.set("all leave", "1")
        while not store.check(["all leave"]):
            gone = links.lifeline.end == "died" or store.check(["one left"])
            if gone or time.monotonic() >= deadline:
                store.set("one left", "1")
                return False
            time.sleep(_POLL_SECONDS)
    except dist.DistError:
        return False  # the store is gone, and with it the rank that hosted it
    return True


def _take_down(links: Links, met: bool) -> None:
    if not dist.is_initialized():
        return  # another did already
    if not links.owned:
        dist.destroy_process_group(links.side)
    elif met:
        dist.destroy_process_group()
    else:
        # Does not wait for what is under way on a device, as destroying would.
        dist.distributed_c10d._abort_process_group()


def _wait_as_host(world: World, store: Store, patience_seconds: float) -> None:
    """Rank 0 may host the store: it goes last, so that the others can still ask it."""
    try:
        gone = store.add("gone", 1)
        deadline = time.monotonic() + patience_seconds
        while world.is_global_zero and gone < world.size and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            gone = store.add("gone", 0)
    except dist.DistError:
        return  # the host is gone: nobody waits for an answer any more
