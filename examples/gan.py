"""Two models, two optimizers, one step: a small GAN that learns to write digits.

python examples/gan.py
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from digits_data import digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from trackside import Output, Result, Run, Trainer

NOISE = 32


def generator() -> nn.Module:
    """From noise of shape `(B, 32)` to images of shape `(B, 64)`, from 0 to 1."""
    return nn.Sequential(
        nn.Linear(NOISE, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64),
        nn.Sigmoid(),
    )  # fmt: skip


def discriminator() -> nn.Module:
    """From images of shape `(B, 64)` to the logit of being real, shape `(B, 1)`."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(128, 64),
        nn.LeakyReLU(0.2), nn.Linear(64, 1),
    )  # fmt: skip


class GAN(Trainer):
    """Trains the two against each other; each step optimizes by hand."""

    manual_optimization = True

    def configure_model(self, run: Run) -> Mapping[str, nn.Module]:
        """Both models, by name."""
        return {"generator": generator(), "discriminator": discriminator()}

    def configure_optimizers(self, run: Run) -> Mapping[str, Optimizer]:
        """One optimizer for each."""
        return {
            name: torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
            for name, model in run.models.items()
        }

    def training_step(self, run: Run, batch: list[Tensor]) -> Output:
        """First the discriminator learns, then the generator."""
        real = batch[0].flatten(1)
        judge = run.models["discriminator"]
        fake = self.imagine(run, len(real))

        on_real, on_fake = judge(real), judge(fake.detach())
        judge_loss = _is(on_real, 0.9) + _is(on_fake, 0.0)  # 0.9: one-sided label smoothing
        self.optimize(judge_loss, run.optimizers["discriminator"])

        maker_loss = _is(judge(fake), 1.0)
        self.optimize(maker_loss, run.optimizers["generator"])

        run.log("discriminator_loss", judge_loss)
        run.log("fooled", (on_fake > 0).float().mean())
        return Output(maker_loss)

    def imagine(self, run: Run, count: int) -> Tensor:
        """Images of the generator, shape `(count, 64)`."""
        pictures: Tensor = run.models["generator"](torch.randn(count, NOISE, device=run.device))
        return pictures


def _is(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def as_text(picture: Tensor) -> str:
    """An image of shape `(64,)` as eight lines of characters."""
    shades = " .:-=+*#%@"
    rows = (picture.reshape(8, 8) * (len(shades) - 1)).round().int().tolist()
    return "\n".join("".join(shades[value] * 2 for value in row) for row in rows)


def main(epochs: int = 150) -> tuple[Result, Tensor]:
    """Train; returns how it went and four pictures of the generator, shape `(4, 64)`."""
    trainer = GAN(seed=0, callbacks={"table": None})
    result = trainer.fit(digits("train"), epochs=epochs, batch_size=128)
    torch.manual_seed(1)
    maker = trainer.models["generator"]
    device = next(maker.parameters()).device
    with torch.no_grad():
        return result, maker(torch.randn(4, NOISE).to(device)).cpu()


if __name__ == "__main__":
    _, pictures = main()
    print("\n\n".join(as_text(picture) for picture in pictures))
