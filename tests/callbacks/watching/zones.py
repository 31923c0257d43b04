"""Folders as Linux has them for counters of energy."""

from __future__ import annotations

from pathlib import Path

RANGE = 262_143_328_850
"""Millionths of a joule after which a counter begins again, as processors have it."""


def zone(root: Path, folder: str, name: str, energy: int = 0, most: int | None = RANGE) -> Path:
    """A zone with its counter, in millionths of a joule; what was there is replaced."""
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    if most is not None:
        (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path


def set_energy(path: Path, energy: int) -> None:
    """Let a zone say another number."""
    (path / "energy_uj").write_text(f"{energy}\n")
