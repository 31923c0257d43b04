"""Many processes: ranks, collectives, agreement, failing ranks, DDP, FSDP2, launch.

torch.distributed is the engine, and this package the only place that touches it. It knows neither
loop nor trainer. What they use, in the order of a run::

    world = join(device)                         # the launcher's ranks; World() for one process
    strategy = choose("auto", world)             # DDP, FSDP, or OneProcess
    model = strategy.place(model_or_factory, world)
    follow(optimizers, parameters_before, strategy.unwrap(model))     # if they were made before
    agreement = agree(world, clock=lambda: seconds_of_this_run)
    with FailureWatch(world, lambda: run.progress.steps_completed) as watch:
        try:
            for batch in ...:
                watch.check()                                   # PeerFailed, if a rank has failed
                with strategy.no_sync(model):                   # but for the last batch of a step
                    (loss * share.factor).backward()
                clip_by_norm(parameters, 1.0)
                for request in agreement.at_step(new_requests):         # same on all ranks
                    ...
                progress.seconds = agreement.seconds                    # same on all ranks
            for request in agreement.agree_now(new_requests):           # before an evaluation, ...
                ...
        except BaseException as error:
            raise watch.report(error)
        finally:
            watch.closing()
            ...                                                 # close callbacks
    leave()                                                     # or at exit, by itself

What holds:

* In one process nothing of torch.distributed is initialised, no thread runs, and every call is the
  identity or a look at an attribute.
* In the loop, no rank waits for a collective of Trackside's: an agreement is reduced in the
  background, and read one exchange later (`agreement`). Requests for which the loop can't wait that
  long (skipping the very step under way) need `Agreement.any`, which does wait.
* What is decided by time is decided by `agreement.seconds`, the clock of rank 0.
* When a rank fails, or dies, the others end within seconds, whatever they wait for, with the first
  error in their own message (`watch`). Afterwards the process groups are broken: `leave()`, and
  `join()` again if every rank does.
* Evaluate with `strategy.unwrap(model)`: the forward of a wrapped DDP model is a collective. That
  of an FSDP model always is: give each rank equally many rounds (`evaluation_share(fill=True)`).
* `world.all_reduce({...})` needs the same names everywhere; `world.sum_by_name` merges different
  ones, and has the signature of `metrics.Reduce`.
* A thread beside the loop (the checkpoint writer) takes `world.beside()`, made in the main thread.
* Nothing is pickled: `gather` and `broadcast` send tensors, arrays and JSON-like values (`wire`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.distributed.agreement import Agreement as Agreement
    from trackside.distributed.agreement import agree as agree
    from trackside.distributed.collectives_check import CollectivesCheck as CollectivesCheck
    from trackside.distributed.ddp import DDP as DDP
    from trackside.distributed.decorators import on_rank as on_rank
    from trackside.distributed.decorators import rank_zero_only as rank_zero_only
    from trackside.distributed.failure import Failure as Failure
    from trackside.distributed.failure import PeerFailed as PeerFailed
    from trackside.distributed.fsdp import FSDP as FSDP
    from trackside.distributed.gradients import clip_by_norm as clip_by_norm
    from trackside.distributed.launcher import launch as launch
    from trackside.distributed.parallel import OneProcess as OneProcess
    from trackside.distributed.parallel import Parallel as Parallel
    from trackside.distributed.parallel import follow as follow
    from trackside.distributed.setup import RankInfo as RankInfo
    from trackside.distributed.setup import join as join
    from trackside.distributed.setup import leave as leave
    from trackside.distributed.sharding import RankBatches as RankBatches
    from trackside.distributed.sharding import RankRounds as RankRounds
    from trackside.distributed.sharding import Share as Share
    from trackside.distributed.sharding import evaluation_share as evaluation_share
    from trackside.distributed.sharding import loss_factor as loss_factor
    from trackside.distributed.sharding import training_share as training_share
    from trackside.distributed.strategies import choose as choose
    from trackside.distributed.watch import EndingTimes as EndingTimes
    from trackside.distributed.watch import FailureWatch as FailureWatch
    from trackside.distributed.world import World as World
else:
    # A run of one process needs World alone, and FSDP takes a second to import.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "agreement": (
                "Agreement",
                "agree",
            ),
            "collectives_check": ("CollectivesCheck",),
            "ddp": ("DDP",),
            "decorators": ("on_rank", "rank_zero_only"),
            "failure": (
                "Failure",
                "PeerFailed",
            ),
            "fsdp": ("FSDP",),
            "gradients": ("clip_by_norm",),
            "launcher": ("launch",),
            "parallel": (
                "OneProcess",
                "Parallel",
                "follow",
            ),
            "setup": (
                "RankInfo",
                "join",
                "leave",
            ),
            "sharding": (
                "RankBatches",
                "RankRounds",
                "Share",
                "evaluation_share",
                "loss_factor",
                "training_share",
            ),
            "strategies": ("choose",),
            "watch": (
                "FailureWatch",
                "EndingTimes",
            ),
            "world": ("World",),
        },
        former={"Place": "RankInfo", "Patience": "EndingTimes"},
    )

__all__ = [
    "DDP",
    "FSDP",
    "Agreement",
    "CollectivesCheck",
    "EndingTimes",
    "Failure",
    "FailureWatch",
    "OneProcess",
    "Parallel",
    "PeerFailed",
    "RankBatches",
    "RankInfo",
    "RankRounds",
    "Share",
    "World",
    "agree",
    "choose",
    "clip_by_norm",
    "evaluation_share",
    "follow",
    "join",
    "launch",
    "leave",
    "loss_factor",
    "on_rank",
    "rank_zero_only",
    "training_share",
]
