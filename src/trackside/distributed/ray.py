"""Ray Train starts the ranks: the same training function, on a Ray cluster.

Needs `pip install 'trackside[ray]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trackside.errors import ConfigurationError
from trackside.imports.extras import optional_package

if TYPE_CHECKING:
    from ray.train import Result


def launch(
    function: Callable[[], Any],
    processes: int,
    *,
    accelerators: bool = False,
    max_restarts: int = 0,
    resources: Mapping[str, float] | None = None,
    storage: str | None = None,
) -> Result:
    """Run `function` in `processes` processes of a Ray cluster, which form a world; wait for all.

    In each process, a `Trainer` that `function` makes finds its rank and trains with the others, as
    under torchrun. Folders have to be shared by the machines, and named: `Settings(directory=...)`;
    with `fit(..., resume="auto")`, all go on from the last checkpoint when they are started again.
    Ray's own checkpoints and reports are not used.

    A process that Ray starts trains in a thread: signals don't reach it. End it by the run's folder
    (`trackside ask RUN stop`), or by Ray's means.

    Args:
        function: What each process does. Ray sends it there, so it can't hold open files or models
            on a device.
        processes: How many, 1 or more.
        accelerators: Whether each gets its own accelerator.
        max_restarts: How often to start all again after a failure.
        resources: What each process needs, in Ray's words: `{"CPU": 4}`; None leaves it to Ray.
        storage: Where Ray writes about its runs; None takes its own folder in the home directory.

    Returns:
        Ray's result.

    Raises:
        ConfigurationError: Fewer than one process, restarts below zero, or no Ray installed.

    Example:
        >>> from trackside.distributed.ray import launch
        >>> launch(train, processes=2)
    """
    if processes < 1 or max_restarts < 0:
        raise ConfigurationError(
            "can't launch that",
            expected="processes of 1 or more, max_restarts of 0 or more",
            received=f"processes={processes}, max_restarts={max_restarts}",
            option="processes" if processes < 1 else "max_restarts",
        )
    train = optional_package("ray.train", needed_by="launch", extra="ray")
    torch = optional_package("ray.train.torch", needed_by="launch", extra="ray")
    trainer = torch.TorchTrainer(
        function,
        scaling_config=train.ScalingConfig(
            num_workers=processes,
            use_gpu=accelerators,
            resources_per_worker=None if resources is None else dict(resources),
        ),
        run_config=train.RunConfig(
            storage_path=storage, failure_config=train.FailureConfig(max_failures=max_restarts)
        ),
    )
    result: Result = trainer.fit()
    return result
