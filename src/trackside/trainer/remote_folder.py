"""The folder of a run that is an address: its mirror on this machine, and its `Upload`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trackside.errors import ConfigurationError
from trackside.lifecycle.collection import CallbackCollection
from trackside.remote.address import address_in
from trackside.remote.bringing import Bringer, Resume
from trackside.run import Run

if TYPE_CHECKING:
    from trackside.trainer.settings import Settings


def local_directory(settings: Settings) -> Path | None:
    """The run's folder on this machine; None where a new one is to be made."""
    address = address_in(settings.directory)
    if address is None:
        return None if settings.directory is None else Path(settings.directory)
    return address.mirror if settings.mirror is None else Path(settings.mirror)


def add_upload(callbacks: CallbackCollection, settings: Settings) -> None:
    """Let an `Upload` be among the callbacks where the run's folder is an address.

    Raises:
        ConfigurationError: One that is there goes elsewhere.
    """
    address = address_in(settings.directory)
    if address is None:
        return
    given = next((one for one in callbacks if isinstance(one, Bringer)), None)
    if given is None:
        from trackside.callbacks.saving.upload import Upload  # noqa: PLC0415 - start-up time

        callbacks.append(Upload(str(address)))
    elif given.to is None:
        given.to = str(address)
    elif given.to != str(address):
        raise ConfigurationError(
            "where the run is uploaded to is said twice",
            received=f"Settings(directory={str(address)!r}), and Upload({given.to!r})",
            remedy="leave out one of the two addresses",
            option="directory",
        )


def bring(run: Run, which: Resume) -> Resume:
    """The meaning of `resume=which` for a run that is uploaded, once what it needs is here."""
    for one in run.callbacks:
        if isinstance(one, Bringer):
            which = one.bring(run, which)
    return which
