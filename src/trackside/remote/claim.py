"""One run at a time uploads to a remote folder: a claim there, renewed while the run lives.

Stores have no locks. Where a store can refuse to make an object that is there (S3, Google's), two
runs that begin at the same moment can't both get the claim. Elsewhere the later one wins, and the
other notices before it writes its next ledger: from then on it uploads nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, final

from trackside.errors import UsageError
from trackside.remote.patience import Patience
from trackside.remote.store import Store
from trackside.run_folder.process import Process, this_process

logger = logging.getLogger("trackside")

CLAIM = "claim.json"
RENEWED_SECONDS = 20.0
"""How often a claim is renewed."""
STALE_SECONDS = 90.0
"""A claim that isn't renewed for so long is that of a run that is gone."""
_LIMIT_BYTES = 64 * 2**10

_here: set[str] = set()
"""Sessions of this process."""


class RemoteClaimedError(UsageError):
    """Another run uploads to the remote folder."""


@final
class RemoteClaim:
    """A remote folder that is this session's until `release`.

    Args:
        store: The folder.
        session: Name of this session.
        run_id: Of the run, for people.
        wait: Waits so many seconds while another claim is watched.
    """

    def __init__(
        self,
        store: Store,
        session: str,
        run_id: str,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._store, self.session, self._run_id, self._wait = store, session, run_id, wait
        self._renewed = 0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, patience: Patience) -> None:
        """Take the folder.

        Raises:
            RemoteClaimedError: A run that is alive has it.
            GivenUpError: The store didn't answer.
        """
        try:
            patience(self._store.create, CLAIM, self._content(), answers=(FileExistsError,))
        except FileExistsError:
            self._take_over(patience)
        if not self.is_mine(patience):
            raise self._refused(patience(self._read))
        _here.add(self.session)

    def keep(self) -> None:
        """Renew the claim from now on, in a thread."""
        self._thread = threading.Thread(target=self._renew, name="remote claim", daemon=True)
        self._thread.start()

    def is_mine(self, patience: Patience) -> bool:
        """Whether the folder is still this session's; one that nobody claims is."""
        found = patience(self._read)
        return found is None or found["session"] == self.session

    def release(self) -> None:
        """Let others have the folder. Raises what the store raises."""
        self._end.set()
        if self._thread is not None:  # what it writes later would be the claim of nobody
            self._thread.join(RENEWED_SECONDS)
        _here.discard(self.session)
        found = self._read()
        if found is not None and found["session"] == self.session:
            self._store.remove([CLAIM])

    def _take_over(self, patience: Patience) -> None:
        found = patience(self._read)
        process = _process(found)
        if found is not None and process is not None and not _is_over(found, process):
            logger.info(
                "%s was claimed by %s: seeing whether that is still alive takes %.0f s",
                self._store.address,
                process,
                STALE_SECONDS,
            )
            self._watch(found, patience)
        patience(self._store.put, CLAIM, self._content())

    def _watch(self, found: dict[str, Any], patience: Patience) -> None:
        waited = 0.0
        while waited < STALE_SECONDS and found["session"] not in _here:
            self._wait(5.0)
            waited += 5.0
            now = patience(self._read)
            if now is None:
                return
            if now != found:
                raise self._refused(now)
        if found["session"] in _here:
            raise self._refused(found)

    def _refused(self, found: dict[str, Any] | None) -> RemoteClaimedError:
        process = _process(found)
        return RemoteClaimedError(
            f"another run uploads to {self._store.address}",
            expected="one run at a time in a remote folder",
            received="another run" if process is None else str(process),
            remedy="wait for it, end it, or choose another address",
        )

    def _content(self) -> bytes:
        # Without the command: it may hold secrets, and this is read by all who can read there.
        process = asdict(replace(this_process(), command=f"run {self._run_id}"))
        content = {"session": self.session, "renewed": self._renewed, "process": process}
        return json.dumps(content, indent=1).encode()

    def _read(self) -> dict[str, Any] | None:
        """The claim that is there; None where there is none that can be read."""
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
            found = json.loads(self._store.get(CLAIM, _LIMIT_BYTES))
            if isinstance(found, dict) and isinstance(found.get("session"), str):
                return found
        return None

    def _renew(self) -> None:
        while not self._end.wait(RENEWED_SECONDS):
            try:
                found = self._read()
                if found is not None and found["session"] != self.session:
                    return  # the uploads notice before their next ledger, and say so
                self._renewed += 1
                self._store.put(CLAIM, self._content())
            except Exception as error:  # the uploads meet the same, and report it
                logger.debug("the claim can't be renewed: %s", type(error).__name__)


def _is_over(found: dict[str, Any], process: Process) -> bool:
    return process.is_gone or (process.is_me and found["session"] not in _here)


def _process(found: dict[str, Any] | None) -> Process | None:
    try:
        return None if found is None else Process.from_dict(found.get("process"))
    except ValueError:
        return None
