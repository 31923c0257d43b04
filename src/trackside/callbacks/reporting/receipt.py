"""`Receipt`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import final

from trackside.callbacks.reporting.receipt_contents import contents
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback, OnError, RankZeroCallback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.run_folder import receipts
from trackside.run_folder.names import RECEIPT


@final
class Receipt(RankZeroCallback):
    """Writes `receipt.json` when a run has ended: digests by which `trackside verify` checks it.

    It has SHA-256 digests of configuration, code (commit and what was not committed), environment,
    data, records, checkpoints, final weights and outcome, each chained to the one before. Of data,
    64 samples are loaded once more at the end, spread over each data set; what has no numbers is
    digested by its attributes. Files that other callbacks write (pictures, exports) are not in it.

    It shows mistakes, files that were swapped, rotten bits, and changes by anyone who can't compute
    a new receipt. Against those who can, sign it: with a key that only you have.

    A run that fails has none, nor has one that is going on, or was killed. Reading the checkpoints
    takes as long as reading their files does, about a second for a gigabyte.

    Args:
        key: A file with a key, 16 bytes or more that nobody can guess, outside of the run's folder
            (`head -c 32 /dev/urandom > ~/receipts.key`). The receipt is signed by it, with
            HMAC-SHA-256, and `trackside verify --key` needs it, too. None: not signed.

    Raises:
        ConfigurationError: The key can't be read, is too short, or lies in the run's folder.

    Example:
        >>> Receipt()
        Receipt()
    """

    runs_in = ("fit",)
    effect = "observes"
    runs_before = (Callback,)  # closed after all others: their files are written then
    on_error: OnError = "warn"

    def __init__(self, key: str | Path | None = None) -> None:
        self.key = None if key is None else local_path(key, "key")
        if self.key is not None:  # who wants it signed wants no run without it
            self.on_error = "raise"
        self._continues: str | None = None
        self._key: bytes | None = None

    def on_fit_start(self, run: Run) -> None:
        """A receipt of before is of a run that had ended: this one goes on."""
        self._continues = None
        self._key = None if self.key is None else receipts.key_of(self.key, run.directory)
        if run.resumed_from is not None:
            with contextlib.suppress(UsageError):  # it had none, or one that nobody can read
                self._continues = receipts.read(run.directory).seal
        (run.directory / RECEIPT).unlink(missing_ok=True)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if outcome.status is Status.FAILED:
            return
        saver = run.saver
        root = None if saver is None else saver.root(run)
        found = contents(run, outcome, root, self._continues)
        receipts.write(run.directory, receipts.Receipt.of(found, self._key))
