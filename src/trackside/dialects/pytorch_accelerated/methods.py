"""The overridable methods of pytorch-accelerated's trainer, for a subclass of Trackside's."""

from __future__ import annotations

from typing import Any

from trackside.dialects.pytorch_accelerated.adapter import CallbackHandler, Trainer
from trackside.dialects.pytorch_accelerated.overriding import OverridableMethods
from trackside.lifecycle.collection import CallbackCollection
from trackside.run import Evaluation
from trackside.step.output import TARGETS, call_model, split


class TrainerMethods(OverridableMethods):
    """Their overridable methods: a base to put before Trackside's `Trainer`.

    A subclass overrides them as there, and has `run_config`, `run_history`, `callback_handler` and
    what else callbacks see of a trainer. Each method comes before the callbacks' event of its name.
    Its scheduler moves per update where `create_scheduler` or `scheduler_step` is overridden.

    Example:
        >>> from trackside import Trainer
        >>> class MyTrainer(TrainerMethods, Trainer):
        ...     def calculate_train_batch_loss(self, batch):
        ...         self.callback_handler.call_event("batch_drawn", trainer=self, batch=batch)
        ...         return super().calculate_train_batch_loss(batch)
    """

    callbacks: CallbackCollection
    loss: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.view, name)

    @property
    def view(self) -> Trainer:
        """Their trainer, as callbacks see it."""
        view: Trainer = vars(self).setdefault("_view", Trainer())
        return view

    @property
    def model(self) -> Any:
        """During a run, the model that is trained; before, what the trainer was given."""
        return self.view.model if self._has("models") else vars(self).get("_model")

    @model.setter
    def model(self, model: Any) -> None:
        if self._has("models"):
            self.view.model = model
        else:
            vars(self)["_model"] = model

    @property
    def callback_handler(self) -> CallbackHandler:
        """Calls the callbacks of pytorch-accelerated, custom events too."""
        return CallbackHandler(self.callbacks)

    # --- steps ---------------------------------------------------------------------------------

    def calculate_train_batch_loss(self, batch: Any) -> dict[str, Any]:
        """`loss`, `model_outputs` and `batch_size` of a training batch, and what callbacks need."""
        return self._calculate(batch)

    def calculate_eval_batch_loss(self, batch: Any) -> dict[str, Any]:
        """`loss`, `model_outputs` and `batch_size` of a batch of an evaluation."""
        return self._calculate(batch)

    def _calculate(self, batch: Any) -> dict[str, Any]:
        inputs, target = split(batch)
        outputs = call_model(self.view.model, inputs)
        loss = self.loss(outputs, target)
        return {"loss": loss, "model_outputs": outputs, "batch_size": len(target)}

    def training_step(self, run: Any, batch: Any) -> Any:
        """Their `calculate_train_batch_loss`, as Trackside's step."""
        return _as_step(self.calculate_train_batch_loss(batch), batch)

    def evaluation_step(self, run: Any, batch: Any) -> Any:
        """Their `calculate_eval_batch_loss`, as Trackside's step."""
        return _as_step(self.calculate_eval_batch_loss(batch), batch)

    # --- methods around them, and Trackside's hooks that call them -----------------------------

    def training_run_start(self) -> None:
        """Before `on_training_run_start`."""

    def train_epoch_start(self) -> None:
        """Before `on_train_epoch_start`."""

    def train_epoch_end(self) -> None:
        """Before `on_train_epoch_end`."""

    def eval_epoch_start(self) -> None:
        """Before `on_eval_epoch_start`."""

    def eval_epoch_end(self) -> None:
        """Before `on_eval_epoch_end`."""

    def training_run_epoch_end(self) -> None:
        """Before `on_training_run_epoch_end`."""

    def training_run_end(self) -> None:
        """Before `on_training_run_end`."""

    def evaluation_run_start(self) -> None:
        """Before `on_evaluation_run_start`."""

    def evaluation_run_end(self) -> None:
        """Before `on_evaluation_run_end`."""

    def on_attach(self, run: Any) -> None:
        vars(self)["_current_run"] = run
        self.view.look_at(run)

    def on_fit_start(self, run: Any) -> None:
        self.training_run_start()

    def on_train_epoch_start(self, run: Any) -> None:
        self.train_epoch_start()

    def on_train_epoch_end(self, run: Any, metrics: dict[str, float]) -> None:
        self.train_epoch_end()

    def on_evaluation_start(self, run: Any, evaluation: Evaluation) -> None:
        if run.mode == "evaluate":
            self.evaluation_run_start()
        if not evaluation.sanity:
            self.eval_epoch_start()

    def on_evaluation_end(self, run: Any, evaluation: Evaluation) -> None:
        if not evaluation.sanity:
            self.eval_epoch_end()
        if run.mode == "evaluate":
            self.evaluation_run_end()

    def on_epoch_end(self, run: Any, metrics: dict[str, float]) -> None:
        self.training_run_epoch_end()

    def on_fit_end(self, run: Any) -> None:
        self.training_run_end()


def _as_step(batch_output: dict[str, Any], batch: Any) -> dict[str, Any]:
    """Their result, with the values that Trackside's metrics need."""
    target = None
    if isinstance(batch, dict):
        target = next((batch[key] for key in TARGETS if key in batch), None)
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        target = batch[1]
    return {"prediction": batch_output.get("model_outputs"), "target": target, **batch_output}
