"""The checkpoints of a run whose trainer is another one: claimed, written, found again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trackside.checkpoint.commit import Saving
from trackside.checkpoint.lookup import at_path
from trackside.checkpoint.reader import Checkpoint
from trackside.checkpoint.retention import Retention
from trackside.checkpoint.selection import Selection, newest_valid
from trackside.checkpoint.writer import CheckpointWriter, new_run_id
from trackside.errors import NonFiniteError, UsageError
from trackside.machine.paths import local_path
from trackside.run_folder.claim import Claim, claim
from trackside.run_folder.identity import identify, identity
from trackside.step.began_infinite import began_infinite
from trackside.step.precision import non_finite

logger = logging.getLogger("trackside")

FOLDER = "checkpoints"
"""Name of the folder of the checkpoints in that of the run, as `Checkpoint` has it."""


class Custody:
    """The folder of one run, and the checkpoints in it.

    Args:
        directory: The folder of the run.
        keep_last: How many of the newest checkpoints stay; None keeps all.
    """

    def __init__(self, directory: str | Path, *, keep_last: int | None = 2) -> None:
        self.directory = local_path(directory, "directory")
        self._retention = Retention(keep_last, None, None, "min", None)
        self._claim: Claim | None = None
        self._writer: CheckpointWriter | None = None
        self._began_infinite: dict[str, frozenset[str]] = {}

    @property
    def root(self) -> Path:
        """The folder of the checkpoints."""
        return self.directory / FOLDER

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, of the run that was begun last in the folder.

        Raises:
            NoValidCheckpointError: There are some, and none verifies.
        """
        known = identity(self.directory)
        found = newest_valid(self.root, run_id=None if known is None else known.run_id)
        return None if found is None else _reported(found)

    def at(self, path: str | Path) -> Checkpoint:
        """The checkpoint in that folder, verified."""
        return _reported(at_path(Path(path)))

    def begin(self, models: Mapping[str, nn.Module], resumed: Checkpoint | None) -> None:
        """Claim the folder, and make ready to write.

        Args:
            models: The models by name: weights that aren't finite are not saved.
            resumed: The checkpoint that the run goes on from; None: it begins.

        Raises:
            ClaimedError: A run that is still alive has the folder.
        """
        self.end()
        self._claim = claim(self.directory)
        run_id = new_run_id() if resumed is None else resumed.manifest.run_id
        self._writer = CheckpointWriter(
            self.root,
            run_id,
            retention=self._retention,
            resumed_from=None if resumed is None else resumed.path,
        )
        identify(self.directory, run_id)
        self._began_infinite = began_infinite(models)

    def save(
        self,
        step: int,
        models: Mapping[str, nn.Module],
        shared: Mapping[str, Any],
        own: Mapping[str, Any],
        reason: str,
    ) -> None:
        """Copy the state, and have it written in the background.

        Args:
            step: Updates that are made.
            models: The models by name, which `shared` has the weights of.
            shared: State that doesn't depend on the process: weights, optimizers, counters.
            own: State of this process: generators, the position in the data.
            reason: Why, for the manifest.

        Raises:
            NonFiniteError: Weights are NaN or infinite; nothing is saved.
            CheckpointWriteError: The last save failed.
            UnsavableStateError: Names each value that can't be saved.
        """
        if self._writer is None:
            raise UsageError(
                "a checkpoint was asked for before training began, or after its end",
                expected="between the two",
            )
        bad = [
            f"{name}.{key}"
            for name, model in models.items()
            for key in non_finite(model.state_dict().items())
            if key not in self._began_infinite.get(name, ())
        ]
        if bad:
            raise NonFiniteError(
                f"the weights after step {step} are not finite and were not saved",
                received=", ".join(bad[:5]),
                remedy="go on from the last checkpoint, with a lower learning rate",
            )
        saving = Saving(step=step, progress={"steps_completed": step}, reason=reason)
        self._writer.save(dict(shared), saving, rank_state=dict(own) or None)

    def settle(self) -> None:
        """Wait for the checkpoint that is being written. Raises what went wrong with it."""
        if self._writer is not None:
            self._writer.close()
            for saved in self._writer.poll():
                for note in saved.notes:
                    logger.warning("%s", note)

    def end(self) -> None:
        """Wait for the last checkpoint, and give the folder back."""
        writer, self._writer = self._writer, None
        held, self._claim = self._claim, None
        try:
            if writer is not None:
                try:
                    writer.close()
                finally:
                    writer.end()
        finally:
            if held is not None:
                held.release()


def _reported(found: Selection) -> Checkpoint:
    for passed_over in found.passed_over:
        logger.warning("passed over %s", passed_over)
    return found.checkpoint
