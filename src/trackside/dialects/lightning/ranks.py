"""Ranks, as the views of `trainer`, its strategy and `pl_module` show them."""

from __future__ import annotations

from trackside.dialects.view import View


class RankNumbers(View):
    """The numbers of this rank."""

    @property
    def global_rank(self) -> int:
        """Number of this rank."""
        return self.run.world.rank

    @property
    def local_rank(self) -> int:
        """Number of this rank on its machine."""
        return self.run.world.local_rank


class Ranks(RankNumbers):
    """The numbers of this rank, and how many there are."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.run.world.is_global_zero

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return self.run.world.size
