"""`Requeue`."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from trackside.checkpoint.manifest import parse_folder_name
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.signals import signal_numbers
from trackside.outcome import Outcome
from trackside.run import Run

JOB = "SLURM_JOB_ID"
"""The variable in which Slurm gives a job its number."""
logger = logging.getLogger("trackside")


@final
class Requeue(Callback):
    """Puts a job of Slurm back into its queue when a signal has ended the run and it is saved.

    The cluster sends the signal before the time limit (`#SBATCH --signal=USR1@300`), and
    `stop_signals` makes it one that saves and stops. Then this calls `scontrol requeue`, once, on
    rank 0; without a checkpoint of the last step it doesn't. SIGTERM isn't among the signals unless
    you name it: `scancel` sends it, and a cancelled job should stay so. Outside Slurm this does
    nothing, which the log says when training starts. A command that fails is a warning.

    Args:
        signals: Names of the signals after which the job goes back to the queue.
        timeout_seconds: How long the end of the run waits for `scontrol` at most.

    Raises:
        ConfigurationError: There is no such signal.
        UsageError: When training starts: nothing saves, or the signal doesn't stop the run.

    Example:
        >>> Requeue()
        Requeue()
    """

    effect = "observes"
    runs_in = ("fit",)
    rank_zero_only = True

    def __init__(
        self, signals: Sequence[str] = ("SIGUSR1",), *, timeout_seconds: float = 30.0
    ) -> None:
        self._numbers = signal_numbers(signals, option="signals")
        self.timeout_seconds = timeout_seconds
        self._saved_step: int | None = None

    def on_fit_start(self, run: Run) -> None:
        self._saved_step = None
        if JOB not in os.environ:
            logger.info("Requeue: %s isn't set, this isn't a job of Slurm; nothing to requeue", JOB)
            return
        if run.saver is None:
            raise UsageError(
                "`Requeue` puts a saved run back into the queue, and nothing saves any",
                remedy="add the callback `Checkpoint()`",
            )
        deaf = [one.name for one in self._numbers if signal.getsignal(one) is signal.SIG_DFL]
        if deaf:
            raise UsageError(
                f"{', '.join(deaf)} would kill the run: nothing would be saved or requeued",
                remedy=f"Settings(stop_signals={tuple(deaf)!r}), or trainer.stop_signals in a file",
            )

    def on_checkpoint_saved(self, run: Run, checkpoint: Any) -> None:
        # By its name: what is written in the background is reported at a later step.
        found = parse_folder_name(Path(checkpoint).name)
        self._saved_step = found[0] if found else self._saved_step

    def on_close(self, run: Run, outcome: Outcome) -> None:
        job = os.environ.get(JOB)
        if job is None or outcome.signal not in self._numbers:
            return
        if self._saved_step != outcome.step:
            logger.warning("job %s isn't requeued: step %d wasn't saved", job, outcome.step)
            return
        try:
            subprocess.run(
                ["scontrol", "requeue", job],
                check=True,
                capture_output=True,
                text=True,
                timeout=self.timeout_seconds,
            )
        except subprocess.CalledProcessError as error:
            answer = error.stderr.strip()
            logger.warning("job %s isn't requeued: scontrol says %r", job, answer)
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.warning("job %s isn't requeued: %s", job, error)
        else:
            logger.info("job %s is back in the queue", job)
