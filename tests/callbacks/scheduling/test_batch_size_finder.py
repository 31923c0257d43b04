"""`BatchSizeFinder` finds the largest batch that fits, and leaves no trace in what is trained."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Callback, ConfigurationError, Settings, Trainer, UsageError
from trackside.callbacks import BatchSizeFinder
from trackside.callbacks.scheduling import batch_size_finder
from trackside.callbacks.scheduling.fitting_sizes import largest_that_fits
from trackside.callbacks.scheduling.host_peak import can_reset_host_peak
from trackside.data import batches

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(X, X.sum(1, keepdim=True))


@pytest.fixture(autouse=True)
def without_a_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each lack of memory; it takes long in a process with all that tests have imported."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Greedy(nn.Sequential):
    """Has memory for 21 samples at once."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 21:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        made: Tensor = super().forward(x)
        return made


def fit(*callbacks: Callback[Any], **given: Any) -> tuple[Any, Trainer]:
    trainer = Trainer(
        Greedy,
        loss=nn.MSELoss(),
        optimizer=given.pop("optimizer", lambda p: torch.optim.AdamW(p, lr=0.1)),
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(device="cpu", directory="run", **given),
    )
    return trainer.fit(DATA, epochs=1, batch_size=8), trainer


# --- the search -----------------------------------------------------------------------------------


@given(
    limit=st.integers(0, 300),
    smallest=st.integers(1, 20),
    largest=st.none() | st.integers(1, 400),
    unit=st.integers(1, 9),
)
def test_the_largest_multiple_that_fits_is_found_and_none_is_asked_twice(
    limit: int, smallest: int, largest: int | None, unit: int
) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    found = largest_that_fits(fits, smallest=smallest, largest=largest, unit=unit)
    allowed = range(-(-smallest // unit) * unit, min(limit, largest or limit) + 1, unit)
    assert found == max(allowed, default=None)
    assert len(set(asked)) == len(asked)
    assert largest is None or max(asked, default=0) <= largest
    fitted = [size for size in asked if size <= limit]
    assert all(
        size <= 2 * max([one for one in fitted if one < size], default=size) for size in asked
    )


# --- a run ----------------------------------------------------------------------------------------


def test_the_largest_batch_that_fits_is_suggested_and_the_run_ends() -> None:
    finder = BatchSizeFinder(largest=64)
    result, _ = fit(finder)
    assert finder.suggestion == 21
    assert result.outcome.step == 0
    assert result.history.latest("batch_size_finder/suggestion") == 21
    assert finder.tried[21] == "fits"
    assert finder.tried[22] == "CUDA out of memory. Tried to allocate 1.00 GiB."


def test_training_goes_on_as_if_the_search_had_not_been() -> None:
    def weights(trainer: Trainer) -> list[Tensor]:
        return [tensor.clone() for tensor in trainer.models["model"].state_dict().values()]

    (searched, one), (plain, two) = fit(BatchSizeFinder(largest=64, stop=False)), fit()
    assert all(map(torch.equal, weights(one), weights(two)))
    assert searched.history.values("train/loss") == plain.history.values("train/loss")


class Centred(nn.Linear):
    """Keeps a mean in a buffer, in whose place it puts another tensor each time."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class WarmsUp(torch.optim.SGD):
    """Counts its steps in its groups."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            group["lr"] = 0.01 * min(1, group["taken"] / 10)
        return super().step(closure)


def test_buffers_that_are_replaced_and_counts_in_groups_are_put_back() -> None:
    def losses(*callbacks: Any) -> list[float]:
        trainer = Trainer(
            Centred,
            loss=nn.MSELoss(),
            optimizer=lambda p: WarmsUp(p, lr=0.01),
            callbacks=callbacks,
            defaults=False,
            seed=0,
            settings=Settings(device="cpu", directory=f"run-{len(callbacks)}"),
        )
        return trainer.fit(DATA, epochs=2, batch_size=8).history.values("train/loss")

    assert losses(BatchSizeFinder(largest=8, stop=False)) == losses()


class FailsOnce(torch.optim.SGD):
    """Has no memory for its first update of eight samples."""

    failed = False

    def step(self, closure: Any = None) -> Any:
        if Counting.samples == 8 and not self.failed:
            self.failed = True
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().step(closure)


class Counting(nn.Linear):
    """Knows the samples of its last batch."""

    samples = 0

    def __init__(self) -> None:
        super().__init__(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        Counting.samples = len(x)
        return super().forward(x)


def test_with_a_loss_scaler_training_goes_on_after_an_update_without_memory() -> None:
    trainer = Trainer(
        Counting,
        loss=nn.MSELoss(),
        optimizer=lambda p: FailsOnce(p, lr=0.01),
        callbacks=[BatchSizeFinder(largest=8, multiple_of=4, stop=False)],
        defaults=False,
        precision="fp16",
        settings=Settings(device="cpu", directory="run"),
    )
    assert trainer.fit(DATA, epochs=1, batch_size=4).outcome.status == "completed"


def test_an_update_that_runs_out_of_memory_counts() -> None:
    class Greedier(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            if seen[0] > 6:
                raise torch.OutOfMemoryError("no room for the state")
            return super().step(closure)

    seen = [0]

    class Sees(nn.MSELoss):
        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            seen[0] = len(target)
            return super().forward(prediction, target)

    finder = BatchSizeFinder(largest=64)
    trainer = Trainer(
        Greedy,
        loss=Sees(),
        optimizer=lambda p: Greedier(p, lr=0.1),
        callbacks=[finder],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.fit(DATA, epochs=1, batch_size=8)
    assert finder.suggestion == 6


def test_no_batch_is_larger_than_the_training_data_or_the_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    finder = BatchSizeFinder(smallest=5, largest=16, multiple_of=5)
    with caplog.at_level("INFO", logger="trackside"):
        fit(finder)
    assert (finder.suggestion, list(finder.tried)) == (15, [5, 10, 15])
    assert "batch_size that fits is 15 (no larger one was tried)" in caplog.text


def test_sizes_that_take_more_than_the_limit_of_memory_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not can_reset_host_peak():
        pytest.skip("this system doesn't measure the memory of a step")
    sizes: list[int] = []

    def take(batch: Any, samples: list[int]) -> Any:
        sizes.append(len(samples))
        return batches.take(batch, samples)

    monkeypatch.setattr(batch_size_finder, "take", take)
    monkeypatch.setattr(batch_size_finder, "_peak", lambda device: 10**9 + 10**8 * sizes[-1])
    finder = BatchSizeFinder(memory_gigabytes=2.05)
    fit(finder)
    assert finder.suggestion == 10
    assert max(sizes) == 10, "a size that would take too much, by the ones before, is not tried"


def test_on_a_cpu_a_limit_is_asked_for_and_not_guessed() -> None:
    with pytest.raises(ConfigurationError, match="nothing says where memory ends") as refused:
        fit(BatchSizeFinder())
    assert refused.value.option == "largest"


def test_a_model_of_which_not_even_the_smallest_batch_fits_is_an_error() -> None:
    with pytest.raises(UsageError, match="no batch of the sizes to try fits"):
        fit(BatchSizeFinder(smallest=30, largest=64))


def test_other_errors_of_a_step_are_not_taken_for_a_lack_of_memory() -> None:
    class Fails(nn.MSELoss):
        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            raise RuntimeError("a bad target")

    trainer = Trainer(
        Greedy,
        loss=Fails(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=[BatchSizeFinder(largest=4)],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    with pytest.raises(RuntimeError, match="a bad target"):
        trainer.fit(DATA, epochs=1)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"smallest": 0}, "smallest"),
        ({"steps": 1}, "steps"),
        ({"largest": 4, "smallest": 8}, "largest"),
        ({"multiple_of": 0}, "multiple_of"),
        ({"memory_gigabytes": 0}, "memory_gigabytes"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        BatchSizeFinder(**options)
    assert refused.value.option == option
