"""Errors of checkpoints, one class per thing a caller may want to do about it."""

from __future__ import annotations

from pathlib import Path

from trackside.errors import CheckpointError


class UnsavableStateError(CheckpointError):
    """State that is neither a tensor nor JSON-like: it could only be pickled, which is refused."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written: full disk, vanished folder, permission, a dead rank.

    The former checkpoints are as they were. The operating system's own error is `__cause__`.
    """


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that isn't what was written: cut, flipped, missing, or never ours.

    Args:
        path: The folder of the checkpoint.
        problems: One sentence per thing that is wrong, each beginning with the file's name.
    """

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        self.path = path
        self.problems = problems
        super().__init__(
            f"{path} is damaged: " + "; ".join(problems),
            remedy="resume from another checkpoint, or restore this one from a copy",
        )


class NoValidCheckpointError(CheckpointError):
    """There were checkpoints, and none of them can be trusted."""


class StateMismatchError(CheckpointError):
    """A checkpoint that doesn't fit the model or optimizer it is loaded into."""
