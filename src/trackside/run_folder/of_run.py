"""The folder of a run, from the side of whoever trains: claimed before it reads or writes there."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from trackside.run import Run
from trackside.run_folder.claim import Claim, claim, claim_new
from trackside.run_folder.identity import identify, put_back, said

logger = logging.getLogger("trackside")


class RunFolder:
    """The folder that a run has, from its claim to its release."""

    def __init__(self) -> None:
        self._claim: Claim | None = None
        self._run: Run | None = None
        self._signed = False
        self._former: str | None = None
        """The description of the run that the folder held before."""

    def take(self, run: Run, *, is_new: bool) -> None:
        """Claim the run's folder, on rank 0 for all ranks.

        Args:
            run: A run that trains; where nobody chose its folder, it gets one that is its own.
            is_new: The folder has just been named, so it holds nothing yet.

        Raises:
            ClaimedError: A run that is still alive has it.
        """
        self._run, self._signed = run, False
        if run.world.is_global_zero:
            if is_new:
                run.directory, self._claim = claim_new(run.directory.parent)
            else:
                self._claim = claim(run.directory)
        if is_new:
            run.directory = Path(run.world.broadcast(str(run.directory)))

    def sign(self, run: Run) -> None:
        """Write into the folder that it belongs to this run."""
        if self._claim is None:
            return
        try:
            self._former = said(run.directory)
            self._signed = True
            identify(run.directory, run.id)
        except OSError as error:
            logger.warning("which run %s is of can't be written (%s)", run.directory, error)

    def release(self) -> None:
        """The run is over; one that ended before its first step has not taken the folder."""
        held, self._claim = self._claim, None
        run, self._run = self._run, None
        if held is None or run is None:
            return
        if self._signed and run.progress.steps_completed == 0:
            with contextlib.suppress(OSError):  # the next run in the folder begins again
                put_back(run.directory, self._former)
        held.release()
