"""A run whose loop is not Trackside's."""

from __future__ import annotations

from trackside.errors import UsageError
from trackside.run import Run


class LedRun(Run):
    """A run that is led by a loop by hand, or by another trainer."""

    batches_of_step = 1
    """Batches per step, where that is known."""

    @property
    def accumulate(self) -> int:
        """Batches per step; the loop decides it."""
        return self.batches_of_step

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        if batches not in (1, self.batches_of_step):
            raise UsageError(
                "how many batches make a step can't be changed: the loop is not Trackside's",
                received=f"accumulate = {batches}, by {self.current_callback or 'the program'}",
                remedy="accumulate in the loop, and take that callback out",
            )
