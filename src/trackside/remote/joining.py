"""Joining: a session in a remote folder, from its claim to its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import read_manifest
from trackside.checkpoint.retention import Retention
from trackside.errors import CheckpointError, UsageError
from trackside.remote.bringing import Resume
from trackside.remote.claim import RemoteClaim
from trackside.remote.contents import Contents
from trackside.remote.fetching import Fetcher, fetch, newest_first, read_contents
from trackside.remote.mirror import Mirror, recorded_address
from trackside.remote.patience import GivenUpError, Patience
from trackside.remote.store import Store
from trackside.run_folder.identity import identity

logger = logging.getLogger("trackside")

START_SECONDS = 60.0
"""How long a store may be away while a run begins."""


class RemoteUnreachableError(UsageError):
    """The store doesn't answer while a run begins."""


@final
@dataclass(slots=True)
class Joined:
    """A session in a remote folder."""

    store: Store
    session: str
    contents: Contents = field(default_factory=Contents)
    claim: RemoteClaim | None = None
    """On rank 0."""

    def leave(self) -> None:
        """Let others have the folder; a store that is away keeps its claim until it is stale."""
        if self.claim is None:
            return
        try:
            self.claim.release()
        except Exception as error:
            logger.debug("the claim of %s stays: %s", self.store.address, type(error).__name__)

    def return_to(self, path: Path, mirror: Mirror) -> Return | None:
        """The return that going on from a checkpoint is; None from the newest that is there.

        Args:
            path: Folder of the checkpoint.
            mirror: The run's folder here.
        """
        manifest = read_manifest(path)[0]
        saved = [kept.entry for kept in self.contents.of_run(manifest.run_id)]
        newest = newest_first("auto", saved, mirror.returns(manifest.run_id), None)
        if not newest or newest[0].sequence <= manifest.sequence:
            return None
        return Return(manifest.sequence, saved[-1].sequence)


def join(
    store: Store,
    session: str,
    mirror: Mirror,
    run_id: str,
    which: Resume,
    retention: Retention | None,
) -> tuple[Path | None, Joined]:
    """Claim a remote folder, bring its files into the mirror, and the checkpoint that is asked for.

    Args:
        store: The remote folder.
        session: Name of this session.
        mirror: The run's folder here, which is claimed already.
        run_id: Of the new run, for people who find the claim.
        which: `auto`, `best`, a step; the path of a checkpoint or None bring none.
        retention: Knows the metric of the best.

    Returns:
        The checkpoint, in the mirror and verified; None where there is none.

    Raises:
        RemoteClaimedError: Another run has the remote folder.
        RemoteUnreachableError: The store doesn't answer, or refuses.
    """
    patience = Patience(str(store.address), "the run waits for it", START_SECONDS)
    claim = RemoteClaim(store, session, run_id)
    joined = Joined(store, session, claim=claim)
    try:
        claim.acquire(patience)
        claim.keep()
        try:
            joined.contents = contents = read_contents(store, patience)
            _refuse_another(store, mirror, contents, run_id)
            found = _bring(store, mirror, contents, which, retention, patience)
            mirror.let_all_go()
            _record(mirror, store, [contents.session, session])
        except BaseException:
            joined.leave()
            raise
    except GivenUpError as error:
        raise RemoteUnreachableError(
            f"{store.address} can't be used: {error}",
            expected=f"an answer within {START_SECONDS:g} s",
            remedy="check the address, the network and the credentials; the run has not begun",
        ) from error
    return found, joined


def _refuse_another(store: Store, mirror: Mirror, contents: Contents, new_run_id: str) -> None:
    """Refuse a remote folder of another run than that of a folder which was never uploaded to it.

    Its files would take the place of those that are here.
    """
    here = identity(mirror.folder)
    if here is None or not contents.run_id or recorded_address(mirror.folder) is not None:
        return
    if here.run_id not in (contents.run_id, new_run_id):
        raise CheckpointError(
            f"{store.address} holds another run than {mirror.folder}",
            expected=f"the run {here.run_id}, or nothing",
            received=f"the run {contents.run_id}",
            remedy="upload to another address, or train in another folder",
        )


def _record(mirror: Mirror, store: Store, sessions: list[str]) -> None:
    try:
        mirror.record(str(store.address), sessions)
    except OSError as error:  # a later start sets aside what isn't uploaded by then, and says so
        logger.warning("where %s is uploaded to can't be written: %s", mirror.folder, error)


def _bring(
    store: Store,
    mirror: Mirror,
    contents: Contents,
    which: Resume,
    retention: Retention | None,
    patience: Patience,
) -> Path | None:
    fetcher = Fetcher(store, mirror, patience)
    run_id = contents.run_id
    if contents.session and not mirror.knows(contents.session):  # it went on elsewhere
        uploaded = {kept.entry.manifest_digest for kept in contents.of_run(run_id)}
        for aside in mirror.set_aside(run_id, uploaded) if run_id else ():
            logger.warning(
                "the run went on elsewhere: what was saved here and not uploaded is now %s", aside
            )
        fetcher.files(contents)
    if not run_id or which is None or isinstance(which, Path):
        return None
    if which not in ("auto", "best") and not str(which).isdecimal():
        return None  # the path of a checkpoint
    return fetch(which, contents, run_id, retention, fetcher, mirror)
