"""A model of transformers, fine-tuned on text that ships with Python: one block first, then all.

python -m pip install transformers
python examples/finetune_text.py                  # a tiny model, made here: nothing is downloaded
python examples/finetune_text.py distilgpt2       # one of yours: a name or a folder

Batches are mappings and the model returns an object with `.loss`: no loss is named. The text is cut
into windows of bytes, which need no tokenizer; a model of yours takes those of its own.
"""

from __future__ import annotations

import inspect
import random
import sys
import textwrap
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, random_split
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from trackside import Result, Settings, Trainer
from trackside.callbacks import Unfreeze

WINDOW = 64
"""Bytes of one sample."""


class Windows(Dataset[dict[str, Tensor]]):
    """Windows of a text, as the model takes them: `input_ids` and `labels` of shape `(WINDOW,)`."""

    def __init__(self, text: str) -> None:
        self.codes = torch.tensor(list(text.encode()), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.codes) // WINDOW

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = self.codes[index * WINDOW : (index + 1) * WINDOW]
        return {"input_ids": window, "labels": window}


def tiny() -> Any:
    """A GPT-2 of 72,000 weights."""
    config = GPT2Config(vocab_size=256, n_positions=WINDOW, n_embd=48, n_layer=2, n_head=4)
    return GPT2LMHeadModel(config)


def main(name: str | None = None, epochs: int = 3, steps: int | None = None) -> Result:
    """Fine-tune on the source of three modules.

    Args:
        name: A model of transformers, by name or folder; None makes a tiny one.
        epochs: Of which the first trains the last block alone.
        steps: Ends it earlier; None takes all epochs.
    """
    text = "".join(inspect.getsource(module) for module in (random, textwrap, inspect))
    train, validation = random_split(Windows(text), [0.9, 0.1], torch.Generator().manual_seed(0))
    model: Any = tiny if name is None else AutoModelForCausalLM.from_pretrained(name)
    trainer = Trainer(
        model,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=2e-3),
        callbacks=[Unfreeze({"transformer.wte": "1 epoch", "transformer.h.0": "1 epoch"})],
        settings=Settings(log_every="10 steps"),
        seed=0,
    )
    return trainer.fit(train, validation, epochs=epochs, steps=steps, batch_size=16)


if __name__ == "__main__":
    result = main(sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"loss {result.history.latest('val/loss'):.3f} per byte")
