"""A small transformer that learns to write Python from the sources of Python's own library.

python examples/charlm.py
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from trackside import Output, Result, Run, Scheduler, Trainer
from trackside.callbacks import Checkpoint

CONTEXT = 64
MODULES = ("ast", "calendar", "copy", "csv", "dataclasses", "enum", "heapq", "textwrap")


class Text(Dataset[tuple[Tensor, Tensor]]):
    """Pieces of a text: `CONTEXT` characters, and the same shifted by one.

    Args:
        codes: The whole text, shape `(N,)`.
        stride: Characters between the beginnings of two pieces.
    """

    def __init__(self, codes: Tensor, stride: int) -> None:
        self.codes = codes
        self.stride = stride

    def __len__(self) -> int:
        return (len(self.codes) - CONTEXT - 1) // self.stride

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        piece = self.codes[index * self.stride : index * self.stride + CONTEXT + 1]
        return piece[:-1], piece[1:]


def library_text() -> Tensor:
    """Sources of the standard library as character codes below 128, shape `(N,)`."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    return torch.tensor(list(text.encode("ascii", "replace")), dtype=torch.int64)


class CharTransformer(nn.Module):
    """Predicts each next character: codes of shape `(B, T)` to logits of shape `(B, T, 128)`."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 1) -> None:
        super().__init__()
        self.letters = nn.Embedding(128, width)
        self.places = nn.Parameter(torch.zeros(CONTEXT, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 128)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of the next character at each place."""
        length = codes.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=codes.device)
        hidden = self.letters(codes) + self.places[:length]
        logits: Tensor = self.head(self.body(hidden, mask=mask, is_causal=True))
        return logits

    @torch.no_grad()
    def write(self, start: str, length: int) -> str:
        """Go on writing after `start`; likely characters are drawn more often."""
        codes = torch.tensor([list(start.encode("ascii"))])
        draws = torch.Generator().manual_seed(0)
        for _ in range(length):
            scores = self(codes[:, -CONTEXT:].to(self.places.device))[:, -1]
            chances = (scores.cpu() / 0.6).softmax(-1)
            codes = torch.cat([codes, torch.multinomial(chances, 1, generator=draws)], dim=1)
        return bytes(codes[0].tolist()).decode("ascii")


class LanguageTrainer(Trainer):
    """Weighs its averages by characters instead of samples."""

    def training_step(self, run: Run, batch: list[Tensor]) -> Output:
        """Cross entropy of the next characters, in nats."""
        codes, following = batch
        logits = run.model(codes)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        return Output(loss, logits, following, weight=following.numel())

    evaluation_step = training_step


def main(steps: int = 400) -> tuple[Result, str]:
    """Train on nine tenths of the text; returns how it went and what the model writes."""
    codes = library_text()
    cut = len(codes) * 9 // 10
    trainer = LanguageTrainer(
        CharTransformer,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.01),
        scheduler=Scheduler(
            lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=3e-3, total_steps=steps + 1
            ),
            interval="step",
        ),
        callbacks=[Checkpoint("100 steps")],  # the run is shorter than an epoch
        clip=1.0,
        seed=0,
    )
    result = trainer.fit(
        Text(codes[:cut], stride=7),
        Text(codes[cut:], stride=CONTEXT),
        steps=steps,
        evaluate_every="100 steps",
        batch_size=32,
    )
    model = trainer.models["model"].eval()
    assert isinstance(model, CharTransformer)
    return result, model.write("def __init__(self", 200)


if __name__ == "__main__":
    _, written = main()
    print(written)
