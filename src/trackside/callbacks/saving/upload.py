"""`Upload`."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import final

from rich.console import Console

from trackside.checkpoint.ranks import together
from trackside.checkpoint.retention import Retention
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.remote.address import Address
from trackside.remote.bringing import Bringer, Resume
from trackside.remote.joining import Joined, join
from trackside.remote.mirror import Mirror
from trackside.remote.store import Store
from trackside.remote.uploads import Uploads
from trackside.run import Run
from trackside.secret import Secret

logger = logging.getLogger("trackside")

_SHOWN_SECONDS = 30.0


@final
class Upload(Callback, Bringer):
    """Uploads the run to remote storage while it trains: checkpoints in order, the ledger last.

    It is there by itself where `Settings(directory="s3://bucket/run")` names an address; then give
    one for its options. All that the run writes lies in its folder on this machine first. A
    checkpoint counts as uploaded when a ledger names it, which is written after its files are: the
    remote folder can be resumed from at every moment. What retention deletes here is deleted there,
    too. Where the storage is away, training goes on, and uploads are tried again, later and later,
    up to every 30 seconds. What isn't uploaded at the end is listed, with the command that does
    it later: `trackside upload RUN`.

    Args:
        to: Address of the run's remote folder; None takes the one of `Settings(directory=...)`.
        storage_options: Options of fsspec's file system: keys, an endpoint. Their values are
            secret. None leaves them to the environment and to fsspec's own configuration.
        drain_seconds: How long the end of the run waits for uploads; Ctrl-C ends the wait.

    Raises:
        ConfigurationError: fsspec doesn't know the address, or a package is missing.

    Example:
        >>> Upload("memory://bucket/run", drain_seconds=60)
        Upload('memory://bucket/run', drain_seconds=60)
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"
    runs_before = (Callback, "receipt")  # closed after all others: their files are written then

    def __init__(
        self,
        to: str | None = None,
        *,
        storage_options: Mapping[str, Secret] | None = None,
        drain_seconds: float = 600.0,
    ) -> None:
        if not drain_seconds >= 0:
            raise ConfigurationError(
                f"drain_seconds={drain_seconds!r} must be a time",
                expected="seconds, 0 or more",
                option="drain_seconds",
            )
        self.to: str | None = None if to is None else str(Address(to, "to"))
        self.storage_options = storage_options
        self.drain_seconds = drain_seconds
        self._asked: Resume = None
        self._joined: Joined | None = None
        self._mirror: Mirror | None = None
        self._uploads: Uploads | None = None

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: its files are of the run."""
        return False

    def bring(self, run: Run, which: Resume) -> Resume:
        """See the base."""
        if self.to is None:
            raise ConfigurationError(
                "`Upload` has no address",
                expected="the address of a folder: Upload('s3://bucket/run')",
                option="to",
            )
        self._asked = which
        session = run.world.broadcast(secrets.token_hex(4))
        checkpoints = run.directory / "checkpoints" if run.saver is None else run.saver.root(run)
        self._mirror = Mirror(run.directory, checkpoints, run.world.rank)
        store = Store(Address(self.to), self.storage_options)
        retention = None if run.saver is None else run.saver.retention

        def lead() -> str | None:
            if not run.world.is_global_zero:
                return None
            assert self._mirror is not None  # above
            found, self._joined = join(store, session, self._mirror, run.id, which, retention)
            return None if found is None else str(found)

        if not run.world.is_global_zero:
            self._joined = Joined(store, session)
        found = together(run.world.beside(), lead, failure=f"{self.to} can't be used")[0]
        return which if found is None else Path(found)

    def on_setup_end(self, run: Run) -> None:
        """Begin to upload: first what a former process has saved and not uploaded."""
        joined, mirror = self._joined, self._mirror
        if joined is None or mirror is None:
            return
        run.taken_back |= run.world.on_rank_zero(lambda: self._takes_back(run, joined, mirror))
        self._uploads = Uploads(
            joined.store,
            joined.session,
            mirror,
            run.id,
            Retention() if run.saver is None else run.saver.retention,
            joined.contents,
            joined.claim,
            run.world.size,
        )
        if joined.claim is not None:
            for path in mirror.whole(run.id):
                self._put(run, path)

    def _takes_back(self, run: Run, joined: Joined, mirror: Mirror) -> bool:
        """Note a resume from an earlier checkpoint than the newest there; whether it was asked."""
        origin = run.resumed_from
        back = None if origin is None else joined.return_to(origin, mirror)
        if back is not None:
            mirror.adopt(run.id, [*mirror.returns(run.id), back])
        return back is not None and self._asked != "auto"

    def on_checkpoint_saved(self, run: Run, path: Path) -> None:
        self._put(run, path)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        uploads, self._uploads = self._uploads, None
        joined, self._joined = self._joined, None
        try:
            if uploads is not None:
                self._drain(run, uploads)
        finally:
            if joined is not None and joined.claim is not None:
                joined.leave()

    def _put(self, run: Run, path: Path) -> None:
        if self._uploads is not None and self._mirror is not None:
            held = self._mirror.hold(path, run.id)
            if held is not None:
                self._uploads.put(held)

    def _drain(self, run: Run, uploads: Uploads) -> None:
        shown = monotonic()
        with Console(stderr=True).status("uploading") as status:

            def show(files: int, size_bytes: int) -> None:
                nonlocal shown
                text = f"uploading {_files(files)}, {_megabytes(size_bytes)} left"
                status.update(text)
                if monotonic() - shown >= _SHOWN_SECONDS:
                    shown = monotonic()
                    logger.info("%s: %s", self.to, text)

            whole = uploads.close(self.drain_seconds, show)
        if whole:
            logger.info("uploaded to %s", self.to)
            return
        files, size_bytes = uploads.unsent
        logger.warning(
            "not all of the run is in %s (%s): %s, %s of checkpoints are left; all is in %s\n"
            "  to upload it later: trackside upload %s",
            self.to,
            uploads.problem,
            _files(files),
            _megabytes(size_bytes),
            run.directory,
            run.directory,
        )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes < 1e7 else f"{size_bytes / 1e6:,.0f} MB"
