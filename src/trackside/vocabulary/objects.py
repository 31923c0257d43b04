"""Objects of other trainers that are given where none of their kind is taken, and their place."""

from __future__ import annotations

PACKAGES = ("lightning", "pytorch_lightning", "lightning_fabric")

PLACES: dict[str, str] = {
    "LightningModule": "a LightningModule is the model of a trainer: `Trainer(MyModule(), ...)`",
    "LightningDataModule": "beside a LightningModule, `trainer.fit(data, epochs=3)` takes it, and "
    "its validation with it; for other models and loops, its loaders: `data.setup('fit')`, then "
    "`trainer.fit(data.train_dataloader(), data.val_dataloader(), epochs=3)`",
    "Trainer": "`trackside.Trainer(MyModule(), callbacks=[...])` stands in its place",
    "Logger": "a callback records: `TensorBoard()`, `CSVLogger()`, `WandB()` or `MLflow()`",
    "Strategy": "`Settings(strategy='ddp')`, 'fsdp', or `FSDP(...)` with options",
    "Precision": "`Trainer(model, precision='bf16')`, or 'fp16'",
    "Accelerator": "`Settings(device='cuda')`",
    "CombinedLoader": "one loader for training; several for validation by name: `{'a': ..., 'b': "
    "...}`",
}
"""Classes of Lightning, and what stands in their place, or takes them."""


def place_of(given: object) -> str | None:
    """Where an object of another trainer belongs here, or what replaces it; None for others.

    Args:
        given: The object; of a class, an instance is asked for first.
    """
    kind = given if isinstance(given, type) else type(given)
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] in PACKAGES and cls.__name__ in PLACES:
            instance = f"an instance, `{kind.__name__}(...)`: " if kind is given else ""
            return instance + PLACES[cls.__name__]
    return None
