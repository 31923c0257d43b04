"""One function per trainer: the same model, batches, optimizer and steps, as bare as it can be set.

Each gets a DataLoader that hands out ready batches, and what makes the model, its loss and its
optimizer; it trains one epoch, and returns the model. Bars, logging, checkpoints and clipping are
off where they can be switched off; nothing else is changed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.task import Task

Loader = DataLoader[Any]


def raw(loader: Loader, task: Task) -> nn.Module:
    """The loop that everybody writes by hand."""
    model, loss_function, optimizer_of = task()
    optimizer = optimizer_of(model.parameters())
    model.train()
    for inputs, target in loader:
        loss = loss_function(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def _trackside(loader: Loader, task: Task, *, defaults: bool) -> nn.Module:
    from trackside import Settings, Trainer

    model, loss_function, optimizer_of = task()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            defaults=defaults,
            settings=Settings(device="cpu", directory=folder),
        ).fit(loader, epochs=1)
    return model


def trackside(loader: Loader, task: Task) -> nn.Module:
    """Without callbacks."""
    return _trackside(loader, task, defaults=False)


def trackside_with_defaults(loader: Loader, task: Task) -> nn.Module:
    """As it comes: progress, table, history file, checkpoints, throughput and more."""
    return _trackside(loader, task, defaults=True)


def _lightning(loader: Loader, task: Task, **options: Any) -> nn.Module:
    import lightning

    model, loss_function, optimizer_of = task()

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            inputs, target = batch
            return loss_function(self.model(inputs), target)

        def configure_optimizers(self) -> Any:
            return optimizer_of(self.model.parameters())

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", devices=1, default_root_dir=folder, **options
        )
        trainer.fit(Module(), loader)
    return model


def lightning_barebones(loader: Loader, task: Task) -> nn.Module:
    """`barebones=True`: its own setting for measuring its overhead."""
    return _lightning(loader, task, barebones=True)


def lightning_as_it_comes(loader: Loader, task: Task) -> nn.Module:
    """With its bar, checkpoint and model summary; without a logger, which it may not find."""
    return _lightning(loader, task, logger=False)


def accelerate(loader: Loader, task: Task) -> nn.Module:
    """A loop written by hand around `prepare` and `backward`."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, loss_function, optimizer_of = task()
    prepared, optimizer, batches = accelerator.prepare(
        model, optimizer_of(model.parameters()), loader
    )
    prepared.train()
    for inputs, target in batches:
        loss = loss_function(prepared(inputs), target)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    accelerator.free_memory()
    return model


def pytorch_accelerated(loader: Loader, task: Task) -> nn.Module:
    """Without callbacks, so without a bar."""
    import pytorch_accelerated as pa

    model, loss_function, optimizer_of = task()

    class Bare(pa.Trainer):  # type: ignore[misc]
        def create_train_dataloader(self, *args: Any, **kwargs: Any) -> Loader:
            return loader

    os.environ["ACCELERATE_USE_CPU"] = "true"
    trainer = Bare(
        model, loss_func=loss_function, optimizer=optimizer_of(model.parameters()), callbacks=()
    )
    trainer.train(train_dataset=loader.dataset, num_epochs=1, per_device_batch_size=32)
    return model


def hugging_face(loader: Loader, task: Task) -> nn.Module:
    """Without reports, saves, clipping and bar; its logging waits for the end."""
    import transformers

    model, loss_function, optimizer_of = task()
    optimizer = optimizer_of(model.parameters())
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

    class Bare(transformers.Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Loader:
            return loader

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            inputs, target = inputs
            return loss_function(model(inputs), target)

        def _prepare_inputs(self, inputs: Any) -> Any:
            return inputs

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            max_grad_norm=0.0,
            use_cpu=True,
        )
        Bare(
            model, arguments, train_dataset=loader.dataset, optimizers=(optimizer, constant)
        ).train()
    return model


def ignite(loader: Loader, task: Task) -> nn.Module:
    """`create_supervised_trainer`, without handlers."""
    from ignite.engine import create_supervised_trainer

    model, loss_function, optimizer_of = task()
    engine = create_supervised_trainer(model, optimizer_of(model.parameters()), loss_function)
    engine.run(loader, max_epochs=1)
    return model


def keras(loader: Loader, task: Task) -> nn.Module:
    """Keras' own layers and AdamW on torch, with the same weights at the start; no bar."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as package

    model, _, _ = task()
    first, last = model[0], model[2]  # type: ignore[index]
    made = package.Sequential(
        [
            package.layers.Input((64,)),
            package.layers.Dense(128, activation="relu"),
            package.layers.Dense(10),
        ]
    )
    weights = [first.weight.T, first.bias, last.weight.T, last.bias]
    made.set_weights([weight.detach().numpy() for weight in weights])
    made.compile(
        optimizer=package.optimizers.AdamW(1e-3, weight_decay=1e-2, epsilon=1e-8),
        loss=package.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    made.fit(loader, epochs=1, verbose=0)
    found = [torch.as_tensor(weight) for weight in made.get_weights()]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), found, strict=True):
            parameter.copy_(value.T)
    return model


PEERS: dict[str, Callable[[Loader, Task], nn.Module]] = {
    "Trackside, bare": trackside,
    "Trackside, as it comes": trackside_with_defaults,
    "Accelerate": accelerate,
    "ignite": ignite,
    "pytorch-accelerated": pytorch_accelerated,
    "Lightning, barebones": lightning_barebones,
    "Lightning, as it comes": lightning_as_it_comes,
    "Hugging Face Trainer": hugging_face,
    "Keras (torch)": keras,
}
"""By name, as the figures call them."""


MLP_ONLY = ("Keras (torch)",)
"""Those that train the MLP only: their layers are their own."""


class Batches(torch.utils.data.Dataset[Any]):
    """Ready batches behind the indices of their samples; `at` is called at each batch.

    A DataLoader of batches of 32 asks for 32 indices at once and gets one object: the way to the
    data costs all trainers the same, and next to nothing.
    """

    def __init__(self, batches: list[Any], at: Callable[[int], None]) -> None:
        self._batches = batches
        self._at = at

    def __len__(self) -> int:
        return 32 * len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index // 32]

    def __getitems__(self, indices: list[int]) -> Any:
        number = indices[0] // 32
        self._at(number)
        return self._batches[number]

    def loader(self) -> Loader:
        """In order, in batches of 32."""
        return DataLoader(self, batch_size=32, collate_fn=_as_it_is)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


def _as_it_is(batch: Any) -> Any:
    return batch
