"""`no_device_waits`: a test that nothing inside waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trackside.errors import TracksideError
from trackside.machine.waits import watched_waits

_SHOWN = 8


class DeviceWaitError(TracksideError):
    """Code that was to wait for nothing has read values of the device."""


@contextmanager
def no_device_waits() -> Iterator[None]:
    """Refuse code inside that waits for the device: reads a value, prints it, branches on it.

    Works without an accelerator: on a CPU a reading is found all the same. Tensors that are made
    inside from plain values (`torch.tensor(3.0)`) are on the host, and may be read. On CUDA torch's
    own check of synchronizing calls looks on as well.

    Raises:
        DeviceWaitError: Lists each wait with file and line, once everything inside is done.

    Example:
        >>> with no_device_waits():
        ...     loss = model(inputs).mean()
        ...     total += loss.detach()
    """
    with watched_waits() as waits:
        yield
    if waits:
        places = list(dict.fromkeys(map(str, waits)))
        more = f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        raise DeviceWaitError(
            f"{len(waits)} waits for the device: {'; '.join(places[:_SHOWN])}{more}",
            expected="values that stay tensors on the device",
            remedy="keep them as tensors; read them when a record is made, or a schedule is due",
        )
