"""The views for callbacks of Keras: a model and its optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer as TorchOptimizer

from trackside.data.batches import move
from trackside.dialects import state_file
from trackside.dialects.view import UnknownAttributeError, View, optimizer_of
from trackside.errors import UsageError
from trackside.machine.paths import local_path
from trackside.step.evaluation import evaluating


class Setting(float):
    """A number of the optimizer that is read as one, and set as a variable of Keras is.

    Args:
        value: The number.
        optimizer: Whose it is.
        name: Its name in torch's groups.
    """

    def __new__(cls, value: float, optimizer: OptimizerView, name: str) -> Setting:
        """Make the number."""
        return super().__new__(cls, value)

    def __init__(self, value: float, optimizer: OptimizerView, name: str) -> None:
        self._optimizer, self._name = optimizer, name

    def assign(self, value: Any) -> None:
        """Set it in all groups."""
        self._optimizer.set_in_groups(self._name, value)

    def numpy(self) -> Any:
        """The number as an array without dimensions."""
        return torch.tensor(float(self)).numpy()

    @property
    def value(self) -> float:
        """The plain number."""
        return float(self)


class OptimizerView(View):
    """Stands for `self.model.optimizer`: the learning rate of a torch optimizer."""

    dialect = "keras"
    stands_for = "Optimizer"
    refuses_settings = True
    instead: ClassVar[dict[str, str]] = {
        "variables": "`self.model.run.optimizer.state`: it is a torch optimizer",
        "apply_gradients": "override `optimizer_step` of `trackside.Trainer`",
    }

    @property
    def torch_optimizer(self) -> TorchOptimizer | None:
        """The optimizer itself; None where there is none, as in `Trainer.evaluate`."""
        return optimizer_of(self.run)

    @property
    def learning_rate(self) -> Setting | None:
        """Learning rate of the first group, None without an optimizer; setting it sets all."""
        return self._setting("lr")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.set_in_groups("lr", value)

    @property
    def lr(self) -> Setting | None:
        """The same, under its older name."""
        return self._setting("lr")

    @lr.setter
    def lr(self, value: Any) -> None:
        self.set_in_groups("lr", value)

    @property
    def momentum(self) -> Setting | None:
        """Momentum of the first group, where the optimizer has one; setting it sets all."""
        return self._setting("momentum")

    @momentum.setter
    def momentum(self, value: Any) -> None:
        self.set_in_groups("momentum", value)

    @property
    def weight_decay(self) -> Setting | None:
        """Weight decay of the first group; setting it sets all."""
        return self._setting("weight_decay")

    @weight_decay.setter
    def weight_decay(self, value: Any) -> None:
        self.set_in_groups("weight_decay", value)

    def set_in_groups(self, name: str, value: Any) -> None:
        """Set a number in all groups of the torch optimizer.

        Raises:
            UnknownAttributeError: They don't have it.
        """
        groups = self._groups(name)
        if not groups:
            raise UnknownAttributeError(
                f"keras: the optimizer has no `{name}` to set",
                received="a run without an optimizer" if self.torch_optimizer is None else None,
                remedy="its settings are those of torch: `self.model.run.optimizer.param_groups`",
            )
        for group in groups:
            group[name] = float(value)

    def _setting(self, name: str) -> Setting | None:
        groups = self._groups(name)
        return Setting(groups[0][name], self, name) if groups else None

    def _groups(self, name: str) -> list[dict[str, Any]]:
        optimizer = self.torch_optimizer
        return [] if optimizer is None else [g for g in optimizer.param_groups if name in g]

    @property
    def iterations(self) -> int:
        """Optimizer steps completed."""
        return self.run.progress.steps_completed


class ModelView(View):
    """Stands for `self.model`: a Keras model, as far as that can be a view of the run."""

    dialect = "keras"
    stands_for = "Model"
    instead: ClassVar[dict[str, str]] = {
        "compile": "give loss and optimizer to the trainer: `Trainer(loss=..., optimizer=...)`",
        "fit": "training is under way; to end it: `self.model.stop_training = True`",
        "evaluate": "ask for it: `self.model.run.evaluate('val')`",
        "layers": "the torch module: `self.model.run.model.named_modules()`",
        "loss": "the trainer has it: `Trainer(loss=...)`",
        "metrics": "the trainer has them: `Trainer(metrics={...})`",
        "trainable_variables": "the torch module: `self.model.run.model.parameters()`",
        "summary": "use `trackside.callbacks.ModelSummary`",
        "to_json": "a torch module has no such form; export it with `torch.export`",
    }

    @property
    def optimizer(self) -> OptimizerView:
        """The optimizer's learning rate."""
        optimizer = OptimizerView()
        optimizer.look_at(self.run)
        return optimizer

    @property
    def stop_training(self) -> bool:
        """Whether training is to end; set it to True to ask for that."""
        return self.stops

    @stop_training.setter
    def stop_training(self, wanted: bool) -> None:
        self.set_stop(wanted)

    @property
    def name(self) -> str:
        """Name of the module's class."""
        return type(self.run.model).__name__

    @property
    def weights(self) -> list[Tensor]:
        """All parameters and buffers, in the order of the module."""
        return list(self.run.model.state_dict(keep_vars=True).values())

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The parameters that are trained, in the order of the module."""
        return [p for p in self.run.model.parameters() if p.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """Frozen parameters and buffers, in the order of the module."""
        trained = {id(p) for p in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    def count_params(self) -> int:
        """How many numbers parameters and buffers have together."""
        return sum(weight.numel() for weight in self.weights)

    def __call__(self, *inputs: Any, training: bool | None = None, **named: Any) -> Any:
        """The output of the module.

        Args:
            inputs: What the module takes.
            training: Whether it is in training mode for this call; None: as it is.
            named: What the module takes by name.
        """
        if training is None:
            return self.run.model(*inputs, **named)
        before = self.run.model.training
        try:
            return self.run.model.train(training)(*inputs, **named)
        finally:
            self.run.model.train(before)

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = 0) -> Any:
        """Outputs for `x` as an array, without gradients, in evaluation mode.

        Args:
            x: A tensor or an array with samples along its first dimension.
            batch_size: Samples of a pass; None takes 32, as there.
            verbose: Only 0 and `auto` are taken: nothing is shown.
        """
        if verbose not in (0, "auto"):
            raise UsageError("keras: `predict` shows no bar here", remedy="pass verbose=0")
        parts = torch.split(torch.as_tensor(x), batch_size or 32)
        with evaluating(self.run.models):
            outputs = [self.run.model(move(part, self.run.device)) for part in parts]
        return torch.cat(outputs).cpu().numpy()

    def get_weights(self) -> list[Any]:
        """Copies of all parameters and buffers as arrays, in the order of the module."""
        tensors = self.run.model.state_dict().values()
        return [tensor.detach().cpu().numpy().copy() for tensor in tensors]

    def set_weights(self, weights: list[Any]) -> None:
        """Restore the weights that `get_weights` returned.

        Raises:
            UsageError: Not as many arrays as the model has.
        """
        state = self.run.model.state_dict()
        if len(weights) != len(state):
            raise UsageError(
                "these aren't the weights of this model",
                expected=f"{len(state)} arrays, as `get_weights` returns them",
                received=f"{len(weights)} arrays",
            )
        tensors = {k: torch.as_tensor(w) for k, w in zip(state, weights, strict=True)}
        self.run.model.load_state_dict(tensors)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write the weights to a file; a safetensors file, whatever its name ends in."""
        state = state_file.state_of(self.run, self.run.model, optimizer=False, scheduler=False)
        self._write(filepath, state, overwrite)

    def load_weights(self, filepath: str | Path) -> None:
        """Restore weights that `save_weights` or `save` wrote."""
        state = state_file.read(filepath)
        state_file.restore(self.run, state, optimizer=False, scheduler=False)

    def save(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write weights and optimizer to a file; a safetensors file, whatever its name ends in."""
        self._write(filepath, state_file.state_of(self.run, self.run.model), overwrite)

    def _write(self, filepath: str | Path, state: dict[str, Any], overwrite: bool) -> None:
        if not overwrite and local_path(filepath).exists():
            raise UsageError(f"{str(filepath)!r} is there already", remedy="pass overwrite=True")
        state_file.save_on_rank_zero(self.run, filepath, state)
