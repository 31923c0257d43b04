"""The methods of Dream Trainer's trainers that surround `fit`, for a subclass of Trackside's."""

from __future__ import annotations

from typing import Any


class TrainerMethods:
    """`configure` and `setup`: a base to put before Trackside's `Trainer`.

    A subclass overrides them as there. `trainer.configure()` and `trainer.setup()` may be called
    before `fit`, which calls those that weren't.

    Example:
        >>> from trackside import Trainer
        >>> class MyTrainer(TrainerMethods, Trainer):
        ...     def configure(self):
        ...         super().configure()
        ...         self.names = ["a", "b"]
    """

    def configure(self) -> None:
        """Work before models and data are made."""
        vars(self)["_configured"] = True

    def setup(self) -> None:
        """Work before optimizers are made and models are placed."""
        vars(self)["_set_up"] = True

    def on_configure_start(self, run: Any) -> None:
        """Call `configure`, unless that was done."""
        if not vars(self).pop("_configured", False):
            self.configure()
            vars(self).pop("_configured", None)

    def on_setup_start(self, run: Any) -> None:
        """Call `setup`, unless that was done."""
        if not vars(self).pop("_set_up", False):
            self.setup()
            vars(self).pop("_set_up", None)
