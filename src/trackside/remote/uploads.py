"""Uploads: a thread that sends checkpoints in their order, each followed by the ledger."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import final

from trackside.checkpoint.lineage import left_behind
from trackside.checkpoint.retention import Retention, to_delete
from trackside.remote.claim import RemoteClaim
from trackside.remote.contents import Contents, Part, object_name
from trackside.remote.mirror import Held, Mirror, rank_of
from trackside.remote.patience import GivenUpError, Patience
from trackside.remote.sending import Left, LostClaimError, Sender, with_checkpoint
from trackside.remote.store import LocalChangeError, Store

logger = logging.getLogger("trackside")

OTHERS_SECONDS = 60.0
"""How long rank 0 waits for what another rank has to send, before it sends that itself."""
OTHERS_CLOSING_SECONDS = 10.0
"""The same while the run closes."""
_LOOK_SECONDS = 0.5


@final
class Uploads:
    """Sends what a run has saved, in the background. Training never waits for it.

    On rank 0 it writes the ledger; on other ranks it sends what these wrote of a checkpoint, under
    names that rank 0 knows beforehand. Nobody waits in a collective: where another rank has not
    sent its part in a minute, rank 0 does it, from the folder that they share.

    Args:
        store: The remote folder.
        session: Name of this session, the same on all ranks.
        mirror: Where the files are.
        run_id: Of the run.
        retention: Which checkpoints stay there.
        contents: The ledger as it is there.
        claim: Of the remote folder, on rank 0; None on other ranks.
        ranks: How many processes upload together.
    """

    def __init__(
        self,
        store: Store,
        session: str,
        mirror: Mirror,
        run_id: str,
        retention: Retention,
        contents: Contents,
        claim: RemoteClaim | None,
        ranks: int = 1,
    ) -> None:
        self._ranks = ranks
        self._store, self._session, self._mirror = store, session, mirror
        self._run_id, self._retention, self._claim = run_id, retention, claim
        self._contents = replace(contents, run_id=run_id, folder=mirror.place)
        self.patience = Patience(
            str(store.address),
            f"training goes on, all is kept in {mirror.folder}, and uploads are tried again",
        )
        self._left = Left()
        self._queue: deque[Held] = deque()
        self._closing = False
        self._changed = threading.Condition()
        self.problem: str | None = None
        """Why uploads have ended before all was sent; None while they go on, or all was sent."""
        self.unsent = (0, 0)
        """Files of checkpoints that `close` has left behind, and their bytes."""
        self._thread = threading.Thread(
            target=self._work, name=f"uploads to {store.address}", daemon=True
        )
        self._thread.start()

    def put(self, held: Held) -> None:
        """Upload a checkpoint, once those before it are."""
        with self._changed:
            self._queue.append(held)
            self._changed.notify()

    def left(self) -> tuple[int, int]:
        """Files of checkpoints that are not uploaded yet, and their bytes."""
        with self._changed:
            waiting = list(self._queue)
        left = self._left
        return (
            left.files + sum(len(one.manifest.files) for one in waiting),
            left.size_bytes - left.partly_bytes + sum(one.size_bytes for one in waiting),
        )

    def close(self, limit_seconds: float, show: Callable[[int, int], object]) -> bool:
        """Upload what is left, and the run's files as they are now; whether all was uploaded.

        Args:
            limit_seconds: How long to wait at most.
            show: Called several times a second with files and bytes that are left.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self.patience.hurry()
        until = monotonic() + limit_seconds
        try:
            while self._thread.is_alive() and monotonic() < until:
                show(*self.left())
                self._thread.join(min(0.2, max(0.0, until - monotonic())))
        finally:
            finished = not self._thread.is_alive()
            self.unsent = self.left()
            self.patience.give_up()
        if not finished and self.problem is None:
            self.problem = f"not all was uploaded in {limit_seconds:g} s"
        return self.problem is None

    # --- the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            left, patience = self._left, self.patience
            sender = Sender(
                self._store,
                self._session,
                self._mirror,
                self._contents,
                patience,
                left,
                self._mirror.rank,
            )
            if self._claim is None:
                self._help(sender)
            else:
                self._lead(sender, self._claim)
        except GivenUpError as error:
            self.problem = self.problem or f"the store did not answer in time ({error})"
        except LostClaimError:
            self.problem = "another run uploads to that address now"
            logger.warning(
                "%s: another run has taken it over; from now on this one is only kept in %s",
                self._store.address,
                self._mirror.folder,
            )
        except Exception as error:  # of a thread: reported now, and by `close`
            self.problem = f"uploads have ended by an error: {type(error).__name__}: {error}"
            logger.exception("uploads to %s have ended by an error", self._store.address)
        finally:
            self._left.end()

    def _next(self) -> tuple[Held | None, bool]:
        """The next checkpoint, or None for the files of the run; and whether that is the last."""
        with self._changed:
            while not (self._queue or self._closing):
                self._changed.wait()
            last = self._closing and not self._queue
            if not self._queue:
                return None, last
            held = self._queue.popleft()
            self._left.begin(held)
            return held, last

    def _help(self, sender: Sender) -> None:
        last = False
        while not last:
            held, last = self._next()
            if held is not None:
                try:
                    sender.share(held)
                except LocalChangeError as error:
                    logger.warning("%s is not uploaded by this rank: %s", held.name, error)
                self._done_with(held)

    def _lead(self, sender: Sender, claim: RemoteClaim) -> None:
        while sender.contents.written < 2:  # both ledgers are there before the first object
            sender.publish(sender.contents, claim)
        sender.clean()
        last = False
        while not last:
            held, last = self._next()
            if held is None:
                new = replace(self._of_now(sender.contents), files=sender.files())
                if new != sender.contents:
                    sender.publish(new, claim)
            elif self._stays(held, sender.contents):
                self._upload(held, sender, claim)
            if held is not None:
                self._done_with(held)

    def _upload(self, held: Held, sender: Sender, claim: RemoteClaim) -> None:
        try:
            kept = sender.checkpoint(held, self._run_id, self._of_others(held))
        except LocalChangeError as error:
            logger.warning("the checkpoint %s is not uploaded: %s", held.name, error)
            return
        new = with_checkpoint(self._of_now(sender.contents), kept, self._retention)
        sender.publish(replace(new, files=sender.files()), claim)

    def _of_now(self, contents: Contents) -> Contents:
        """The contents, with the lineage of the run as it is here."""
        return replace(contents, returns=self._mirror.returns(self._run_id))

    def _stays(self, held: Held, contents: Contents) -> bool:
        """Whether retention would keep it beside those that are there and those that follow it."""
        there = contents.of_run(self._run_id)
        if any(one.entry.manifest_digest == held.entry.manifest_digest for one in there):
            return False
        with self._changed:
            waiting = [one.entry for one in self._queue]
        known = [replace(one.entry, name=f"there {one.entry.name}") for one in there]
        entries = [*known, held.entry, *waiting]
        left = left_behind((one.sequence for one in entries), self._mirror.returns(self._run_id))
        gone = to_delete(entries, self._retention, left_behind=left)
        return all(one is not held.entry for one in gone)

    def _done_with(self, held: Held) -> None:
        self._left.end()
        self._mirror.let_go(held)

    @property
    def _others_seconds(self) -> float:
        return OTHERS_CLOSING_SECONDS if self._closing else OTHERS_SECONDS

    def _of_others(self, held: Held) -> dict[str, Part]:
        """Files that other ranks have sent, by name; as far as they do so in time."""
        wanted = {
            entry.name: Part(
                object_name(entry.digest, entry.size_bytes, self._session, rank_of(entry.name)),
                entry.size_bytes,
                entry.digest,
            )
            for entry in held.manifest.files
            if 0 < rank_of(entry.name) < self._ranks and not entry.grows
        }
        found: dict[str, Part] = {}
        began = monotonic()
        while len(found) < len(wanted) and monotonic() - began < self._others_seconds:
            for name, part in wanted.items():
                if name not in found:
                    there = self.patience(self._store.size, part.name)
                    if there == part.size_bytes:
                        found[name] = part
            if len(found) < len(wanted):
                with self._changed:
                    self._changed.wait(_LOOK_SECONDS)
        return found
