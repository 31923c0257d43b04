"""World: the ranks of a run, and what they can do together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import torch
import torch.distributed as dist
from torch import Tensor

from trackside.distributed import wire
from trackside.distributed.vectors import NamedVector, number, to_host
from trackside.errors import TracksideError

if TYPE_CHECKING:
    from trackside.distributed.links import Links

Op = Literal["mean", "sum", "min", "max"]
T = TypeVar("T")

_CPU = torch.device("cpu")
_LENGTH_BYTES = 8
_AT_ONCE_BYTES = 1024
"""Bytes that ranks gather without sending a length first: a record's values, a few numbers.
So much takes no longer than a single byte."""


class World:
    """The ranks of a run, from the view of one of them; `run.world`.

    Every method that isn't a property is a *collective*: all ranks must call it, in the same
    order, or all wait for the one that doesn't. `World()` is a world of one process: everything is
    the identity, and no process group exists.

    Args:
        rank: Number of this process among all, from 0.
        size: Number of processes.
        local_rank: Number of this process among those of its machine.
        device: Device of this process.
        links: Groups and store, for a world of several; `setup.join` makes them.

    Example:
        >>> World().all_reduce({"loss": 0.5})
        {'loss': 0.5}
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        local_rank: int = 0,
        device: torch.device = _CPU,
        links: Links | None = None,
    ) -> None:
        if size > 1 and links is None:
            raise TracksideError(
                f"a world of {size} ranks needs process groups",
                remedy="get it from trackside.distributed.join()",
            )
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.device = device
        self.links = links

    def __repr__(self) -> str:
        return f"World(rank={self.rank}, size={self.size}, device={self.device})"

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the rank that speaks for all."""
        return self.rank == 0

    # --- reducing ------------------------------------------------------------------------------

    @overload
    def all_reduce(self, x: Tensor, op: Op = ...) -> Tensor: ...
    @overload
    def all_reduce(self, x: float, op: Op = ...) -> float: ...
    @overload
    def all_reduce(self, x: Mapping[str, T], op: Op = ...) -> dict[str, T]: ...

    def all_reduce(
        self, x: Tensor | float | Mapping[str, Any], op: Op = "mean"
    ) -> Tensor | float | dict[str, Any]:
        """`x` combined over all ranks, the same on each.

        Args:
            x: A tensor of the same shape and dtype on all ranks, a number, or a mapping from
                names to either, which travels as one vector of doubles, in one collective. All
                ranks need the same names; where they may differ, see `sum_by_name`.
            op: `mean`, `sum`, `min` or `max`. The mean of whole numbers is not whole.

        Returns:
            A new tensor, number or mapping.

        Raises:
            TracksideError: The names of a mapping differ between ranks.
        """
        if isinstance(x, Tensor):
            return self._reduce_tensor(x, op)
        if isinstance(x, Mapping):
            return self._reduce_mapping(x, op)
        value = float(x) if op == "mean" else x
        if self.size == 1:
            return value
        # Doubles on every rank: one may pass 1 and another 1.0.
        total = self._reduce_tensor(torch.tensor(float(x), dtype=torch.float64), op).item()
        return number(total, like=value)

    def _reduce_tensor(self, x: Tensor, op: Op) -> Tensor:
        if op == "mean" and not (x.is_floating_point() or x.is_complex()):
            x = x.to(torch.get_default_dtype())
        if self.size == 1:
            return x
        # gloo has no operation for the mean, and none for bool.
        result = (x.to(torch.int64) if x.dtype is torch.bool else x).detach().clone()
        by = {"mean": dist.ReduceOp.SUM, "sum": dist.ReduceOp.SUM}
        by |= {"min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
        group = self._group_for(x)
        self._finish(dist.all_reduce(result, op=by[op], group=group, async_op=True), result)
        if op == "mean":
            return result / self.size
        return result.to(torch.bool) if x.dtype is torch.bool and op != "sum" else result

    def _reduce_mapping(self, x: Mapping[str, Any], op: Op) -> dict[str, Any]:
        if self.size == 1:
            return {name: self.all_reduce(value, op) for name, value in x.items()}
        mine = NamedVector(x)
        added = self.size if op == "sum" else 1
        combined = self._reduce_tensor(mine.pack(), op)
        result = mine.unpack(combined, ranks_added=added, whole=op != "mean")
        if result is None:
            raise TracksideError(
                "ranks reduce mappings of different names or shapes",
                received=f"{mine.description or 'nothing'} on rank {self.rank}",
                remedy="use sum_by_name, which merges what each rank has",
            )
        return result

    def sum_by_name(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add up tensors by name over all ranks; each rank may have other names, or none.

        They come to the host in one transfer, and are added in the order of ranks, so that every
        rank gets the same bits.

        Args:
            sums: Tensors that have the same shape under the same name.

        Returns:
            All names of all ranks: those of rank 0 first. Tensors are on the CPU.
        """
        if self.size == 1:
            return dict(sums)
        total: dict[str, Tensor] = {}
        for part in self._gather_values(to_host(sums)):
            for name, value in part.items():
                total[name] = total[name] + value if name in total else value
        return total

    # --- exchanging ----------------------------------------------------------------------------

    def gather(self, x: T) -> list[T]:
        """Gather the value of each rank, in order of ranks; every rank gets the list.

        Args:
            x: A tensor (shapes may differ between ranks; it comes back on this rank's device of
                `x`), or any nesting of lists, mappings, numbers, text, tensors and arrays
                (tensors inside come back on the CPU). Nothing is pickled.

        Raises:
            UnsendableError: `x` holds something else.
        """
        if self.size == 1:
            return [x]
        parts = self._gather_values(x)
        if isinstance(x, Tensor):
            parts = [part.to(x.device) if isinstance(part, Tensor) else part for part in parts]
        return parts

    @overload
    def gather_in_order(self, items: Tensor, indices: Sequence[int]) -> Tensor: ...
    @overload
    def gather_in_order(self, items: Sequence[T], indices: Sequence[int]) -> list[T]: ...

    def gather_in_order(
        self, items: Tensor | Sequence[Any], indices: Sequence[int]
    ) -> Tensor | list[Any]:
        """The items of all ranks in the order of their indices, each index once.

        Args:
            items: What this rank has, `(n, ...)` or a sequence of `n`; may be empty.
            indices: Where each item belongs in the data set; an index that comes twice (padding)
                counts once, from the lowest rank.

        Raises:
            TracksideError: Not as many indices as items.
        """
        if len(items) != len(indices):
            raise TracksideError(
                "gather_in_order needs one index per item",
                expected=f"{len(items)} indices",
                received=str(len(indices)),
            )
        if isinstance(items, Tensor):
            parts = self.gather((items, [int(index) for index in indices]))
            return _rows_in_order(parts, device=items.device)
        lists = self.gather((list(items), [int(index) for index in indices]))
        return [lists[part][0][offset] for part, offset in _places(lists)]

    def broadcast(self, x: T, source: int = 0) -> T:
        """Send the value of rank `source` to every rank.

        Args:
            x: A tensor of the same shape and dtype on all ranks, or a value as in `gather` (only
                the source's counts).
            source: Rank whose value it is.
        """
        if self.size == 1:
            return x
        if isinstance(x, Tensor):
            copy = x.detach().clone()
            group = self._group_for(x)
            self._finish(dist.broadcast(copy, src=source, group=group, async_op=True), copy)
            return cast("T", copy)
        data = wire.pack(x) if self.rank == source else b""
        length = torch.tensor([len(data)])
        self._finish(dist.broadcast(length, src=source, group=self._side, async_op=True), length)
        message = _as_bytes(data, int(length))
        work = dist.broadcast(message, src=source, group=self._side, async_op=True)
        self._finish(work, message)
        value: T = wire.unpack(message.numpy().tobytes())
        return value

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            self._finish(dist.barrier(group=self._side, async_op=True))

    def on_rank_zero(self, fn: Callable[[], T]) -> T:
        """Call `fn` on rank 0 only; every rank gets what it returned.

        Raises:
            TracksideError: On the other ranks, when `fn` raised on rank 0 (which raises its own).
        """
        if self.size == 1:
            return fn()
        if not self.is_global_zero:
            failure, value = self.broadcast(cast("tuple[str | None, T]", (None, None)))
            if failure is not None:
                raise TracksideError(f"rank 0 failed for all ranks: {failure}")
            return value
        try:
            result = fn()
        except BaseException as error:
            self.broadcast((f"{type(error).__name__}: {error}", None))
            raise
        self.broadcast((None, result))
        return result

    def beside(self) -> World:
        """The same ranks over connections of their own, for collectives of a background thread.

        On one set of connections, the turns of two threads would get mixed up. Making it is a
        collective; tensors on an accelerator are not for it.
        """
        if self.links is None:
            return self
        with self.links.connections.recorded():
            group = dist.new_group(backend="gloo")
            dist.barrier(group=group)
        links = replace(self.links, side=group)
        return World(
            self.rank, self.size, local_rank=self.local_rank, device=self.device, links=links
        )

    # --- inside --------------------------------------------------------------------------------

    @property
    def _side(self) -> dist.ProcessGroup:
        assert self.links is not None  # __init__ demands them of a world of several
        return self.links.side

    def _group_for(self, x: Tensor) -> dist.ProcessGroup | None:
        return self._side if x.device.type == "cpu" else None

    def _finish(self, work: dist.Work | None, *tensors: Tensor) -> None:
        """Wait until a collective of `tensors` is done; an accelerator has its stream do so."""
        assert self.links is not None
        assert work is not None  # what torch returns to ranks that aren't of the group
        if all(tensor.device.type == "cpu" for tensor in tensors):
            self.links.connections.wait_for(work, self.links.side, *tensors)
        else:
            work.wait()

    def _gather_values(self, value: Any) -> list[Any]:
        """One value per rank, through the CPU: in one collective if all are short, else in two."""
        data = wire.pack(value)
        length = len(data).to_bytes(_LENGTH_BYTES, "little")
        heads = self._gather_bytes(length + data[:_AT_ONCE_BYTES], _LENGTH_BYTES + _AT_ONCE_BYTES)
        lengths = [int.from_bytes(head[:_LENGTH_BYTES], "little") for head in heads]
        messages = [head[_LENGTH_BYTES:] for head in heads]
        beyond = max(lengths) - _AT_ONCE_BYTES
        if beyond > 0:
            tails = self._gather_bytes(data[_AT_ONCE_BYTES:], beyond)
            messages = [head + tail for head, tail in zip(messages, tails, strict=True)]
        return [
            wire.unpack(message[:length]) for message, length in zip(messages, lengths, strict=True)
        ]

    def _gather_bytes(self, data: bytes, length: int) -> list[bytes]:
        """Every rank's `data`, filled up to `length` bytes."""
        gathered = [torch.empty(length, dtype=torch.uint8) for _ in range(self.size)]
        sent = _as_bytes(data, length)
        work = dist.all_gather(gathered, sent, group=self._side, async_op=True)
        self._finish(work, sent, *gathered)
        return [part.numpy().tobytes() for part in gathered]


def _as_bytes(data: bytes, length: int) -> Tensor:
    return torch.frombuffer(bytearray(data.ljust(length, b"\0")), dtype=torch.uint8)


def _places(parts: Sequence[tuple[Any, list[int]]]) -> list[tuple[int, int]]:
    """Where the item of each index is, by ascending index: number of the part, offset in it."""
    found: dict[int, tuple[int, int]] = {}
    for part, (_, positions) in enumerate(parts):
        for offset, index in enumerate(positions):
            found.setdefault(index, (part, offset))
    return [found[index] for index in sorted(found)]


def _rows_in_order(parts: Sequence[tuple[Tensor, list[int]]], device: torch.device) -> Tensor:
    # A rank without samples can't know the shape of an item: its empty tensor says nothing.
    parts = [part for part in parts if part[1]] or list(parts[:1])
    starts = [0]
    for rows, _ in parts:
        starts.append(starts[-1] + len(rows))
    order = torch.tensor([starts[p] + offset for p, offset in _places(parts)], dtype=torch.int64)
    return torch.cat([rows.to(device) for rows, _ in parts])[order.to(device)]
