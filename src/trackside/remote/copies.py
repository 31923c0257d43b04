"""Copies by command: a run uploaded later, downloaded as a folder, or looked at from here."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from trackside.checkpoint.retention import Retention
from trackside.errors import CheckpointError, UsageError
from trackside.remote.address import Address
from trackside.remote.bringing import Resume
from trackside.remote.claim import RemoteClaim
from trackside.remote.contents import LEDGERS, Contents
from trackside.remote.fetching import Fetcher, fetch, newest_first, read_contents
from trackside.remote.joining import START_SECONDS, RemoteUnreachableError, join
from trackside.remote.mirror import Mirror, checkpoints_of, recorded_address
from trackside.remote.patience import GivenUpError, Patience
from trackside.remote.store import Store
from trackside.remote.uploads import Uploads
from trackside.run_folder.claim import holder
from trackside.run_folder.identity import identity

logger = logging.getLogger("trackside")


def upload(
    folder: Path, to: str | None, seconds: float, show: Callable[[int, int], object]
) -> Address:
    """Upload what a run has saved in `folder` and its remote folder doesn't have.

    Args:
        folder: The run's folder on this machine.
        to: Address of its remote folder; None takes the one it was uploaded to before.
        seconds: How long to try at most.
        show: Called several times a second with files and bytes that are left.

    Raises:
        UsageError: It isn't a run, one that goes on, or nothing says where to.
        CheckpointError: The run went on elsewhere; or not all was uploaded in time.
    """
    known = identity(folder)
    address_text = to or recorded_address(folder)
    if known is None or address_text is None:
        raise UsageError(
            f"there is no run in {folder}"
            if known is None
            else f"nothing says where the run in {folder} is uploaded to",
            expected="the folder of a run that was uploaded, in part",
            remedy=None if known is None else "give the address: --to s3://bucket/run",
        )
    if (process := holder(folder)) is not None:
        raise UsageError(
            f"the run in {folder} goes on, and uploads by itself",
            received=str(process),
            remedy="wait for its end",
        )
    address, session = Address(address_text, "to"), secrets.token_hex(4)
    store = Store(address)
    contents = _contents(store)
    mirror = Mirror(folder, checkpoints_of(folder, known.run_id))
    if contents.session and not mirror.knows(contents.session):
        raise CheckpointError(
            f"{address} holds what {folder} doesn't know: the run went on elsewhere, or it is "
            "another one",
            remedy="go on from there: `trackside resume ADDRESS`; or upload to another address",
        )
    _, joined = join(store, session, mirror, known.run_id, None, None)
    assert isinstance(joined.claim, RemoteClaim)  # on rank 0, as here
    try:
        uploads = Uploads(
            store,
            session,
            mirror,
            known.run_id,
            Retention(),
            joined.contents,
            joined.claim,
        )
        for path in mirror.whole(known.run_id):
            held = mirror.hold(path, known.run_id)
            if held is not None:
                uploads.put(held)
        if not uploads.close(seconds, show):
            raise CheckpointError(f"not all of {folder} is in {address}: {uploads.problem}")
    finally:
        joined.leave()
    return address


def download(address: Address, folder: Path, which: str) -> int:
    """Bring a run from its remote folder into a new one; how many checkpoints.

    Args:
        address: The remote folder.
        folder: A folder on this machine, new or empty.
        which: `all` checkpoints, the newest (`auto`), or those of a step.

    Raises:
        UsageError: The folder isn't empty; no run lies there.
        CheckpointError: The checkpoint isn't there, or isn't what was uploaded.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", expected="a folder that is new, or empty")
    store = Store(address)
    contents = _contents(store, must_be=True)
    patience = _patience(store)
    fetcher = Fetcher(store, Mirror(folder, folder / contents.folder), patience)
    wanted = sorted(contents.checkpoints.values(), key=lambda kept: kept.entry.sequence)
    if which == "auto":
        mine = [kept.entry for kept in contents.of_run(contents.run_id)]
        newest = newest_first("auto", mine, contents.returns, None)[:1]
        wanted = [contents.checkpoints[entry.name] for entry in newest]
    elif which != "all":
        wanted = [kept for kept in wanted if str(kept.entry.step) == which]
    if not wanted and which not in ("all", "auto"):
        raise CheckpointError(f"there is no checkpoint for {which!r} in {address}")
    try:
        fetcher.files(contents)
        for kept in wanted:
            fetcher.checkpoint(kept)
    except GivenUpError as error:
        raise _unreachable(store, error) from error
    return len(wanted)


def described(address: Address) -> Path:
    """The mirror of a remote run, with the files that describe it as they are there now.

    Raises:
        UsageError: No run lies there.
    """
    store, folder = Store(address), address.mirror
    contents = _contents(store, must_be=True)
    mirror = Mirror(folder, folder / contents.folder)
    if not mirror.knows(contents.session) and holder(folder) is None:
        try:
            Fetcher(store, mirror, _patience(store)).files(contents)
        except GivenUpError as error:
            raise _unreachable(store, error) from error
    return folder


def checkpoint_in(
    address: Address, folder: Path, which: Resume, retention: Retention | None
) -> Resume:
    """The folder of a checkpoint of a remote run, brought into `folder`; `which` without one."""
    if which is None or isinstance(which, Path):
        return which
    store = Store(address)
    contents = _contents(store, must_be=True)
    mirror = Mirror(folder, folder / contents.folder)
    if which not in ("auto", "best") and not str(which).isdecimal():
        return which
    try:
        fetcher = Fetcher(store, mirror, _patience(store))
        found = fetch(which, contents, contents.run_id, retention, fetcher, mirror)
    except GivenUpError as error:
        raise _unreachable(store, error) from error
    return which if found is None else found


def runs_below(address: Address) -> list[Address]:
    """Remote folders of runs, at or below an address."""
    store = Store(address)
    try:
        found = {place for name in LEDGERS for place in _patience(store)(store.find, name)}
    except GivenUpError as error:
        raise _unreachable(store, error) from error
    return [Address(place) for place in sorted(found)]


def _contents(store: Store, *, must_be: bool = False) -> Contents:
    try:
        contents = read_contents(store, _patience(store))
    except GivenUpError as error:
        raise _unreachable(store, error) from error
    if must_be and not contents.run_id:
        raise UsageError(
            f"there is no run in {store.address}",
            expected=f"a remote folder with {LEDGERS[0]} or {LEDGERS[1]}",
            remedy="`trackside runs ADDRESS` lists those below an address",
        )
    return contents


def _patience(store: Store) -> Patience:
    return Patience(str(store.address), "it is asked again", START_SECONDS)


def _unreachable(store: Store, error: GivenUpError) -> RemoteUnreachableError:
    return RemoteUnreachableError(
        f"{store.address} can't be used: {error}",
        expected=f"an answer within {START_SECONDS:g} s",
        remedy="check the address, the network and the credentials",
    )
