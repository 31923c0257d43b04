"""The most memory that this process has held since a moment; on Linux."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def can_reset_host_peak() -> bool:
    """Whether the system measures the peak from a moment on."""
    try:
        reset_host_peak()
        return host_peak() > 0
    except (OSError, ValueError):
        return False


def reset_host_peak() -> None:
    """Let `host_peak` count from now on. Raises `OSError` where the system can't."""
    _RESET.write_text("5")  # proc(5): resets the peak resident set size


def host_peak() -> int:
    """Bytes in memory at most since then.

    Raises:
        ValueError: The system doesn't say.
        OSError: It has no such file.
    """
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmHWM in /proc/self/status")
