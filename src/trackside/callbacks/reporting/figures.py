"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def figure(value: float) -> str:
    """A metric in at most nine characters: `0.0432`, `123.4`, `1.23e-05`, `nan`."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e5):
        return f"{value:.3g}" if size < 1e-3 else f"{value:,.0f}" if size < 1e8 else f"{value:.3e}"
    return f"{value:.4f}" if size < 100 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3:05`, `2:10:00`, `3 d 04:00`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{hours // 24} d {hours % 24:02}:{minutes:02}"


def size(count_bytes: float) -> str:
    """`512 B`, `1.2 MB`, `3.4 GB`, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def rate(per_second: float, noun: str) -> str:
    """`12,345 samples/s`, `1.25 steps/s`."""
    amount = f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"
    return f"{amount} {noun}/s"


def share(part: float) -> str:
    """`0.8 %`, `12 %`; `<0.1 %` for less."""
    percent = 100 * part
    if percent < 0.1:
        return "<0.1 %"
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of cells as lines with straight columns.

    Args:
        rows: Cells, the same number in each row.
        right: Columns that are flush right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
