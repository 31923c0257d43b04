"""The trainers of `kept_run.py` that come from packages."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import transformers
from lightning.pytorch.callbacks import Callback

from tests.faults.programs.kept_run import (
    ACCUMULATE,
    BATCH_SIZE,
    SAVE_EVERY,
    Augmented,
    KeptOptions,
    Network,
    loader,
    optimizers,
)
from tests.faults.programs.long_run import Tell, digest
from trackside import resume

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
transformers.logging.set_verbosity_error()


class Module(lightning.LightningModule):  # type: ignore[misc]
    """The network as Lightning wants it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, number: int) -> Any:
        """The loss."""
        loss = self.network(**batch)["loss"]
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer, and its scheduler."""
        optimizer, scheduler = optimizers(self)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class InLightning(Callback):  # type: ignore[misc]
    """Tells batches and steps."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._seen = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Where it begins."""
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, number: int
    ) -> None:
        """A batch is over, and perhaps a step."""
        place = trainer.current_epoch * trainer.num_training_batches + number
        self._tell(["batch", place, digest(batch["inputs"])])
        if trainer.global_step != self._seen:
            self._seen = trainer.global_step
            self._tell(["step", self._seen])


def in_lightning(network: Network, options: KeptOptions, tell: Tell) -> None:
    """Lightning's trainer."""
    kept = resume.in_lightning(options.directory, every=f"{SAVE_EVERY} steps")
    trainer = lightning.Trainer(
        callbacks=[kept, InLightning(tell)],
        max_epochs=options.epochs,
        accumulate_grad_batches=ACCUMULATE,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
    trainer.fit(Module(network), kept.loader(loader(options)), ckpt_path=kept.newest())


class InTransformers(transformers.TrainerCallback):  # type: ignore[misc]
    """Tells steps."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A step is over."""
        self._tell(["step", state.global_step])


def in_transformers(network: Network, options: KeptOptions, tell: Tell) -> None:
    """The Trainer of transformers."""
    arguments = transformers.TrainingArguments(
        output_dir=f"{options.directory}/its-own",
        num_train_epochs=options.epochs,
        per_device_train_batch_size=BATCH_SIZE,
        gradient_accumulation_steps=ACCUMULATE,
        dataloader_num_workers=options.workers,
        dataloader_multiprocessing_context="fork" if options.workers else None,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=11,
        learning_rate=0.01,
    )
    trainer = transformers.Trainer(
        network, arguments, train_dataset=Augmented(), callbacks=[InTransformers(tell)]
    )
    resume.in_transformers(trainer, options.directory, every=f"{SAVE_EVERY} steps").train()


TRAINERS = {"lightning": in_lightning, "transformers": in_transformers}
