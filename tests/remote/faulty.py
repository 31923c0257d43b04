"""A file system for fsspec that fails as it is told: `faulty://`, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FaultyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Memory, with faults: `fault(call, path)` may raise before a call, or ask for a torn write."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fault: ClassVar[Callable[[str, str], str | None]] = staticmethod(lambda call, path: None)
    calls: ClassVar[list[tuple[str, str]]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        text: str = MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://"))
        return text

    def _meet(self, call: str, path: str) -> str | None:
        type(self).calls.append((call, path))
        return type(self).fault(call, path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if (fault := self._meet("put", path)) is not None:
            super().pipe_file(path, value[: len(value) // 2], mode=mode)
            if fault == "torn":
                raise ConnectionError("the connection broke in the middle")
            return
        super().pipe_file(path, value, mode=mode)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "b" in mode and ("w" in mode or "x" in mode):
            if "data" not in options and self._meet("put", path) == "torn":
                super().open(path, "wb").close()
                raise ConnectionError("the connection broke in the middle")
        else:
            self._meet("get", path)
        return super().open(path, mode, **options)

    def info(self, path: str, **options: Any) -> Any:
        self._meet("info", path)
        return super().info(path, **options)

    def rm_file(self, path: str) -> None:
        self._meet("remove", path)
        super().rm_file(path)


def install() -> type[FaultyFileSystem]:
    """An empty `faulty://` without faults."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    FaultyFileSystem.store.clear()
    FaultyFileSystem.pseudo_dirs[:] = [""]
    FaultyFileSystem.calls.clear()
    FaultyFileSystem.fault = staticmethod(lambda call, path: None)
    return FaultyFileSystem
