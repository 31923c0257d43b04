"""Memory of the host that is still free."""

from __future__ import annotations

from pathlib import Path

from trackside.machine.host_memory import available_bytes


def files(folder: Path, limit: str) -> tuple[Path, Path]:
    (folder / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 5000 kB\n")
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("1000000\n")
    return folder / "meminfo", folder


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert available_bytes(*files(tmp_path, "3000000")) == 2_000_000


def test_without_a_limit_it_is_what_the_system_has(tmp_path: Path) -> None:
    assert available_bytes(*files(tmp_path, "max")) == 5000 * 1024
    assert available_bytes(tmp_path / "meminfo", tmp_path / "none") == 5000 * 1024


def test_where_the_system_does_not_tell_nothing_is_guessed(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "nowhere") is None
