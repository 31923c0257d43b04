"""Parameters of models and losses: trained, saved and moved, or it is said that they are not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import TensorDataset

from tests.device import same
from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.distributed import World
from trackside.errors import ConfigurationError
from trackside.planning.on_ranks import check_averaged

DATA = TensorDataset(torch.randn(16, 4), torch.arange(16) % 3)


class Proxies(nn.Module):
    """A loss with centres that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.eye(3, 8))

    def forward(self, embedded: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(embedded @ F.normalize(self.centres).T, target)


def trainer(loss: nn.Module, *, trained: bool, folder: Path | None = None, **options: Any) -> Any:
    return Trainer(
        lambda: nn.Linear(4, 8),
        loss=loss,
        optimizer=lambda p: SGD([*p, *(loss.parameters() if trained else ())], lr=0.1),
        seed=0,
        defaults=False,
        settings=Settings(directory=folder),
        **options,
    )


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage().partition(";")[0] for r in caplog.records if "no opt" in r.getMessage()]


def test_parameters_of_the_loss_in_no_optimizer_are_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer(Proxies(), trained=False).fit(DATA, epochs=3)
    words = "1 parameters want gradients, and no optimizer trains them: loss.centres"
    assert told(caplog) == [words]


def test_parameters_that_come_to_want_gradients_are_said_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    model[0].requires_grad_(False)

    class Thawing(Callback[Any]):
        def on_epoch_start(self, run: Run) -> None:
            if run.progress.epochs_completed == 1:
                model[0].requires_grad_(True)

    training = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.1),
        callbacks=[Thawing()],
        defaults=False,
    )
    training.fit(DATA, epochs=1)
    assert told(caplog) == []
    training.fit(DATA, epochs=3)
    assert [line.partition(": ")[2] for line in told(caplog)] == ["model.0.weight, model.0.bias"]


def test_a_loss_that_is_trained_is_saved_and_resumed_bitwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def centres(folder: str, epochs: int, resume: str | None = None) -> Tensor:
        loss = Proxies()
        options: dict[str, Any] = {"folder": tmp_path / folder, "callbacks": [Checkpoint()]}
        trainer(loss, trained=True, **options).fit(DATA, epochs=epochs, resume=resume)
        return loss.centres.detach()

    whole = centres("whole", 4)
    centres("parts", 2)
    assert same(centres("parts", 4, "auto"), whole)
    assert not same(whole, Proxies().centres)
    assert told(caplog) == []


def test_a_loss_is_moved_to_the_device_of_the_run() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.ones(3))
    training = Trainer(
        lambda: nn.Linear(4, 3),
        loss=loss,
        optimizer=lambda p: SGD(p, lr=0.1),
        defaults=False,
        settings=Settings(device="meta"),
    )
    with pytest.raises(Exception, match="meta"):  # no number can be read there
        training.fit([(torch.randn(4, 4), torch.zeros(4).long())], epochs=1)
    assert loss.weight is not None
    assert loss.weight.device.type == "meta"


def test_a_loss_evaluates_in_evaluations_and_trains_in_training() -> None:
    seen: set[tuple[bool, bool]] = set()

    class Watched(nn.CrossEntropyLoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            seen.add((torch.is_grad_enabled(), self.training))
            return super().forward(input, target)

    trainer(Watched(), trained=False).fit(DATA, DATA, epochs=2)
    assert seen == {(True, True), (False, False)}


class Two(World):
    """A world that says it is one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 2


def test_a_loss_that_is_trained_is_refused_on_several_ranks(tmp_path: Path) -> None:
    loss = Proxies()
    run = Run("fit", tmp_path)
    run.world = Two()
    run.models = {}
    run.optimizers = {"optimizer": SGD(loss.parameters(), lr=0.1)}
    with pytest.raises(ConfigurationError, match="would not be averaged"):
        check_averaged(SimpleNamespace(loss=loss), run)
