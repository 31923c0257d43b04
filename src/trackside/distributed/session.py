"""A trainer's side of a world of several ranks: joining, spreading models, watching others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from trackside.distributed import CollectivesCheck, FailureWatch, Parallel, RankInfo, choose, join
from trackside.distributed.architecture import check_same
from trackside.distributed.collectives_check import wanted
from trackside.distributed.replicas import Replicas
from trackside.outcome import Outcome
from trackside.run import Run


class RankSession:
    """Duties of a process that is one of many; in a world of one, nothing."""

    def __init__(self) -> None:
        self.watch: FailureWatch | None = None
        """Notices when another rank fails; None outside of a run, and in one process."""
        self.check: CollectivesCheck | None = None
        """Compares what callbacks call, where the environment asks for it."""
        self.replicas: Replicas | None = None
        """How the models of the last run are spread; None in one process."""

    def join(self, run: Run, device: str | int | torch.device) -> None:
        """Join the ranks that the launcher started, where it started several."""
        if RankInfo.from_environment().size == 1:
            return
        run.world = join(None if device == "auto" else device)
        run.device = run.world.device
        self.watch = FailureWatch(
            run.world, lambda: run.progress.steps_completed, when=lambda: _moment(run)
        )
        self.watch.start()
        if wanted():
            self.check = CollectivesCheck(run.world, lambda: run.current_callback)
            self.check.start()

    def build(
        self, factory: Callable[[], nn.Module], run: Run, parallel: str | Parallel
    ) -> nn.Module:
        """The model that `factory` makes, as the way to spread it wants it."""
        return factory() if run.world.size == 1 else choose(parallel, run.world).build(factory)

    def place(self, run: Run, parallel: str | Parallel) -> Replicas | None:
        """Move the models to their device; on several ranks, spread them."""
        if run.world.size == 1:
            for model in run.models.values():
                model.to(run.device)
            return None
        if self.replicas is None or self.replicas.own != run.models:
            strategy = choose(parallel, run.world)
            check_same(run.world, run.models)
            placed = {name: strategy.place(m, run.world) for name, m in run.models.items()}
            self.replicas = Replicas(strategy, placed)
        run.models = self.replicas.own
        return self.replicas

    def watched(self, body: Callable[[], Outcome]) -> Outcome:
        """Run `body`; tell the other ranks of an error, and learn whose was first."""
        try:
            return body()
        except BaseException as error:
            if self.watch is None:
                raise
            first = self.watch.report(error)
            if first is error:
                raise
            raise first from error
        finally:
            if self.watch is not None:
                self.watch.closing()

    def stop_watching(self) -> None:
        """The run is closed."""
        if self.check is not None:
            self.check.stop()
        self.check = None
        if self.watch is not None:
            self.watch.stop()
        self.watch = None


def _moment(run: Run) -> str:
    """The step, the evaluation and the callback that are under way, in words."""
    words = [f"after step {run.progress.steps_completed}"]
    if run.evaluation is not None:
        words.append(f"in the evaluation of {run.evaluation.name!r}")
    if run.current_callback is not None:
        words.append(f"in the callback {run.current_callback!r}")
    return ", ".join(words)
