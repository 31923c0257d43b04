"""Groups and tensors that gloo may still use after a failure: kept, and freed where nobody waits.

The destructor of a group waits for its threads, and gloo forgets a sender that writes to a
connection in the moment in which it breaks (seen with torch 2.13): such a group is never freed. A
thread of gloo that drops the last reference to a tensor while the interpreter ends aborts the
process.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

_kept: list[object] = []
_freeing: threading.Thread | None = None
_OURS = 3
"""References to what nobody else holds: that of `keep`, a variable, an argument."""


def keep(abandoned: object) -> None:
    """Keep it alive until `free_beside`, or else beyond the end of the interpreter."""
    if not any(abandoned is one for one in _kept):
        _kept.append(abandoned)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(abandoned))


def free_beside() -> None:
    """Free what was kept, in a thread: where a destructor never ends, only that thread waits.

    For a program that goes on after a failure. By then the threads of gloo are done, but for those
    that it has forgotten. Cycles of what has failed are collected before: they may hold a group,
    and whoever collects them later would drop the last reference to it, and wait.
    """
    global _freeing
    if not _kept:
        return
    gc.collect()
    _freeing = threading.Thread(
        target=_free, args=[_kept[:]], name="trackside-abandoned", daemon=True
    )
    _kept.clear()
    _freeing.start()


def wait(seconds: float) -> None:
    """Wait until what is being freed is free, at most that long: the interpreter ends."""
    if _freeing is not None:
        _freeing.join(seconds)


def _free(kept: list[object]) -> None:
    while kept:
        one = kept.pop(0)  # groups before the tensors that their threads hold
        if sys.getrefcount(one) <= _OURS:  # else the last to hold it would wait: it stays
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(one))
        del one
