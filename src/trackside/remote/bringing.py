"""Bringing: a callback that uploads a run also brings what a resume of it needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackside.run import Run

Resume = str | int | Path | None
"""The checkpoint that is asked for, as for `Trainer.fit(resume=...)`."""


class Bringer(ABC):
    """Knows a remote folder of the run; the callback `Upload` is one."""

    to: str | None
    """Address of the remote folder; None until it is known."""

    @abstractmethod
    def bring(self, run: Run, which: Resume) -> Resume:
        """Claim the remote folder; bring what a resume needs. Called by the trainer on all ranks.

        Args:
            run: The run, in its own folder; nothing was restored yet.
            which: The checkpoint that is asked for.

        Returns:
            The folder of the checkpoint to resume from; `which` where there is none there.
        """
