"""Modules in the styles that people write them in, made of a package's own base classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, BATCH = 44, 4
"""Eleven batches: ten steps leave one out."""


def data(seed: int = 0) -> TensorDataset:
    """Points and their classes."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(SAMPLES, 6, generator=generator)
    return TensorDataset(points, (points.sum(1) > 0).long())


def loader(seed: int = 0, *, shuffle: bool = False) -> DataLoader[Any]:
    """Batches of `data`."""
    generator = torch.Generator().manual_seed(7)
    return DataLoader(data(seed), BATCH, shuffle=shuffle, generator=generator)


def classifier(base: Any, module: Any) -> Any:
    """The plain style: a network, a step, one optimizer."""

    class Classifier(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3))
            self.head = nn.Linear(8, 2)

        def forward(self, points: Tensor) -> Tensor:
            scores: Tensor = self.head(self.network(points))
            return scores

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            points, target = batch
            loss = functional.cross_entropy(self(points), target)
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            points, target = batch
            scores = self(points)
            self.log("val_loss", functional.cross_entropy(scores, target))
            self.log("val_acc", (scores.argmax(1) == target).float().mean(), prog_bar=True)

        def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(batch[0]).argmax(1)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.02)

    return Classifier


def scheduled(base: Any, module: Any) -> Any:
    """Hyperparameters, a dict of optimizer and scheduler, hooks of the module."""

    class Scheduled(classifier(base, module)):  # type: ignore[misc]
        def __init__(self, rate: float = 0.05, gamma: float = 0.9) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.seen: list[str] = []

        def on_train_start(self) -> None:
            self.seen.append("on_train_start")

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.seen.append(f"batch {batch_idx} {sorted(outputs)}")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            points, target = batch
            scores = self(points)
            loss = functional.cross_entropy(scores, target)
            self.log_dict({"train/loss": loss, "train/first": scores[0, 0]}, on_epoch=True)
            return {"loss": loss, "scores": scores}

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.rate, momentum=0.9)
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.hparams.gamma)
            how = {"scheduler": scheduler, "interval": "step", "frequency": 2}
            return {"optimizer": optimizer, "lr_scheduler": how}

    return Scheduled


def autoencoder(base: Any, module: Any) -> Any:
    """An encoder and a decoder; two lists; a step of the optimizer with a warm-up."""

    class Autoencoder(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
            self.decoder = nn.Linear(3, 6)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            points, _ = batch
            loss = functional.mse_loss(self.decoder(self.encoder(points)), points)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
        ) -> None:
            optimizer.step(closure=optimizer_closure)
            if self.trainer.global_step < 5:
                for group in optimizer.param_groups:
                    group["lr"] = 0.05 * (self.trainer.global_step + 1) / 5

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    return Autoencoder


def adversarial(base: Any, module: Any) -> Any:
    """Two optimizers, moved by hand."""

    class Adversarial(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
            self.discriminator = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

        def training_step(self, batch: Any) -> None:
            points, _ = batch
            first, second = self.optimizers()
            real, fake = torch.ones(len(points), 1), torch.zeros(len(points), 1)
            compare = functional.binary_cross_entropy_with_logits

            self.toggle_optimizer(first)
            made = self.generator(torch.randn(len(points), 2))
            loss = compare(self.discriminator(made), real)
            self.log("g_loss", loss, prog_bar=True)
            first.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(first, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            first.step()
            self.untoggle_optimizer(first)

            self.toggle_optimizer(second)
            loss = compare(self.discriminator(points), real)
            loss = (loss + compare(self.discriminator(made.detach()), fake)) / 2
            self.log("d_loss", loss, prog_bar=True)
            second.zero_grad()
            self.manual_backward(loss)
            second.step()
            self.untoggle_optimizer(second)

        def configure_optimizers(self) -> Any:
            first = torch.optim.Adam(self.generator.parameters(), lr=0.01)
            return first, torch.optim.Adam(self.discriminator.parameters(), lr=0.01)

    return Adversarial


def whole(base: Any, module: Any) -> Any:
    """A module with its own loaders and set-up, fine-tuning a frozen part."""

    class Whole(classifier(base, module)):  # type: ignore[misc]
        def setup(self, stage: str) -> None:
            self.stages = [*getattr(self, "stages", []), stage]
            self.network.requires_grad_(False)

        def train_dataloader(self) -> Any:
            return loader(shuffle=True)

        def val_dataloader(self) -> Any:
            return [loader(1), loader(2)]

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            points, target = batch
            loss = functional.cross_entropy(self(points), target)
            self.log("val_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            trained = filter(lambda parameter: parameter.requires_grad, self.parameters())
            optimizer = torch.optim.AdamW(trained, lr=0.01)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            how = {"scheduler": plateau, "monitor": "train_loss"}
            return {"optimizer": optimizer, "lr_scheduler": how}

    return Whole


STYLES = (classifier, scheduled, autoencoder, adversarial, whole)


def data_module(base: Any) -> Any:
    """Data that sets itself up."""

    class Data(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def prepare_data(self) -> None:
            self.calls.append("prepare")

        def setup(self, stage: str) -> None:
            self.calls.append(f"setup {stage}")
            self.train, self.other = data(0), data(1)

        def train_dataloader(self) -> Any:
            return DataLoader(self.train, BATCH)

        def val_dataloader(self) -> Any:
            return DataLoader(self.other, BATCH)

        def test_dataloader(self) -> Any:
            return DataLoader(self.other, BATCH)

        def predict_dataloader(self) -> Any:
            return DataLoader(self.other, BATCH)

        def teardown(self, stage: str) -> None:
            self.calls.append(f"teardown {stage}")

    return Data
