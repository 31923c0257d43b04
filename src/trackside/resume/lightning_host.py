"""Exact resume inside Lightning: a callback, a loader, and a place for the checkpoint."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from trackside.checkpoint.reader import Checkpoint
from trackside.errors import UsageError
from trackside.resume.clock import SaveClock
from trackside.resume.custody import FOLDER, Custody
from trackside.resume.loader import KeptLoader
from trackside.schedule import Schedule

STATE = "lightning"
"""Key of Lightning's own state in a checkpoint."""


def in_lightning(
    directory: str | Path, *, every: Schedule | str = "100 steps", keep_last: int | None = 2
) -> Any:
    """A callback of Lightning that saves the whole run, and lets it go on bitwise, mid-epoch.

    It takes the place of `ModelCheckpoint`: make the trainer with `enable_checkpointing=False`, or
    keep one for weights. What Lightning would pickle is written in Trackside's format.

    Args:
        directory: The folder of the run; the same again goes on with it.
        every: When to save. A checkpoint is made when Lightning asks for the batch after.
        keep_last: How many of the newest checkpoints stay; None keeps all.

    Returns:
        The callback. `loader(...)` wraps the training loader, `newest()` is the `ckpt_path`.

    Raises:
        ImportError: Lightning is not installed.

    Example:
        >>> kept = resume.in_lightning("runs/mine", every="100 steps")
        >>> host = L.Trainer(callbacks=[kept], enable_checkpointing=False)
        >>> host.fit(model, kept.loader(loader), ckpt_path=kept.newest())
    """
    package = _package()
    callback = import_module(f"{package}.callbacks").Callback
    plugin = import_module(f"{package}.plugins.io").CheckpointIO
    kind = type("Kept", (_Kept, callback), {"_io": type("KeptIO", (_KeptIO, plugin), {})})
    return kind(Custody(directory, keep_last=keep_last), SaveClock(every))


def _package() -> str:
    """The one of Lightning's two packages that the program uses."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        return "pytorch_lightning"
    return "lightning.pytorch"


class _Kept:
    """The callback; Lightning's own base comes with it."""

    _io: type[Any]

    def __init__(self, custody: Custody, clock: SaveClock) -> None:
        super().__init__()
        self.custody = custody
        self._clock = clock
        self._trainer: Any = None
        self._loader: KeptLoader | None = None
        self._saved_at = -1
        self.resumed: Checkpoint | None = None
        """The checkpoint that the run went on from."""

    def loader(self, loader: Any) -> KeptLoader:
        """The training loader, with a position that is saved; to be given to `fit`."""
        self._loader = KeptLoader(loader, self._between)
        return self._loader

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole, for the option `ckpt_path`; or None."""
        found = self.custody.newest()
        return None if found is None else found.path

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Lightning sets up: its checkpoints go through this from now on."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise UsageError(
                "exact resume inside Lightning is for one process",
                received=f"{trainer.world_size} processes",
                remedy="train with `trackside.Trainer` on several ranks",
            )
        self._trainer, self.resumed, self._saved_at = trainer, None, -1
        strategy = trainer.strategy
        if not isinstance(strategy.checkpoint_io, self._io):
            strategy.checkpoint_io = self._io(self, strategy.checkpoint_io)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Claim the folder; the state is loaded."""
        if self._loader is None or trainer.train_dataloader is not self._loader:
            raise UsageError(
                "the training loader is not one whose position is kept",
                received=type(trainer.train_dataloader).__name__,
                remedy="give `kept.loader(loader)` to `fit`, or return it from `train_dataloader`",
            )
        self.custody.begin({"model": pl_module}, self.resumed)
        self._clock.start(trainer.global_step, trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the end, and wait until it is written."""
        if trainer.global_step != self._saved_at:
            self._save("the end of training")
        self.custody.settle()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Give the folder back."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run failed or was interrupted: the last checkpoint is finished, no other is made."""
        self._end()

    def _end(self) -> None:
        if self._loader is not None:
            self._loader.end()
        self._trainer = None
        self.custody.end()

    def _between(self) -> None:
        trainer = self._trainer
        if trainer is not None and self._clock.is_due(trainer.global_step, trainer.current_epoch):
            self._save("due")

    def _save(self, reason: str) -> None:
        step = self._saved_at = self._trainer.global_step
        path = self.custody.root / f"{step} {reason}"
        self._trainer.save_checkpoint(path, weights_only=False)


class _KeptIO:
    """Where Lightning's checkpoints go; those that aren't this callback's go where they went."""

    def __init__(self, kept: _Kept, former: Any) -> None:
        super().__init__()
        self._kept = kept
        self._former = former

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write what Lightning says of a run."""
        custody = self._kept.custody
        if Path(path).parent != custody.root:
            self._former.save_checkpoint(checkpoint, path, storage_options)
            return
        step, _, reason = Path(path).name.partition(" ")
        module = self._kept._trainer.lightning_module
        custody.save(int(step), {"model": module}, {STATE: checkpoint}, {}, reason)

    def load_checkpoint(self, path: Any, map_location: Any = None, **options: Any) -> Any:
        """Read what Lightning said of a run."""
        if Path(path).parent.name != FOLDER or not Path(path).is_dir():
            return self._former.load_checkpoint(path, map_location, **options)
        self._kept.resumed = found = self._kept.custody.at(path)
        state = found.state()
        if STATE not in state:
            raise UsageError(
                f"{path} is not a checkpoint of Lightning",
                expected="one that `resume.in_lightning` has saved",
            )
        return state[STATE]

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file of the former kind; ours are removed as newer ones come."""
        self._former.remove_checkpoint(path)
