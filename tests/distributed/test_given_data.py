"""Data that ranks have of their own, on real ranks: taken once, and told what can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint

from .conftest import StartForked, TorchRun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]
EVERY_SAMPLE = list(range(24))
DATA = TensorDataset(torch.arange(24.0).unsqueeze(1))


def in_one_process(folder: Path, data: object) -> list[int]:
    """The samples of the rest of an epoch that several ranks have begun."""
    seen: list[int] = []

    def step(run: Any, batch: list[Tensor]) -> Tensor:
        seen.extend(int(number) for number in batch[0].flatten())
        loss: Tensor = run.model(batch[0] * 0).mean()
        return loss

    trainer = Trainer(
        nn.Linear(1, 1),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        callbacks=[Checkpoint("2 steps", at_end=False)],
        defaults=False,
        settings=Settings(directory=folder),
    )
    trainer.training_step = step  # type: ignore[method-assign]
    trainer.fit(data, epochs=1, resume="auto")
    return seen


@pytest.fixture(
    scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)], ids="on {} ranks".format
)
def given(
    request: pytest.FixtureRequest,
    on_ranks: StartForked,
    folder: Path,
) -> TorchRun:
    return on_ranks("given_data.py", folder, ranks=request.param, timeout_seconds=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs."""
    return tmp_path_factory.mktemp("given")


@pytest.mark.parametrize("what", ["trained on", "evaluated", "streamed"])
def test_every_sample_is_taken_once(given: TorchRun, what: str) -> None:
    assert sorted(n for part in given.claimed(what) for n in part) == EVERY_SAMPLE, given


def test_metrics_with_lists_are_those_of_all_batches(given: TorchRun) -> None:
    for name in ("metrics", "metrics of the stream"):
        for metrics in given.claimed(name):
            assert metrics["test/kept"] == sum(EVERY_SAMPLE)
            assert metrics["test/loss"] == pytest.approx(11.5)


def test_predictions_of_each_rank_s_own_data_come_rank_by_rank(given: TorchRun) -> None:
    ranks = len(given.ranks)
    expected = [n for rank in range(ranks) for n in EVERY_SAMPLE[rank::ranks]]
    assert given.claimed("predicted") == [expected] * ranks


def test_a_schedule_in_samples_counts_those_of_all_ranks(given: TorchRun) -> None:
    first, *others = given.claimed("evaluated at")
    in_a_step = {2: 8 + 5, 3: 8 + 5 + 2}[len(given.ranks)]

    assert all(each == first for each in others), given
    assert len(first) == 12 * in_a_step // 40 + 1, "at every 40 samples, and at the end"
    assert all(samples == step * in_a_step for step, samples in first)


def test_shares_of_an_epoch_go_by_the_shortest_data_of_all_ranks(given: TorchRun) -> None:
    assert given.claimed("saved by shares")[0] == [f"step-{n:010}" for n in (5, 10, 15, 20)]


def test_measured_values_are_those_of_rank_zero_on_every_rank(given: TorchRun) -> None:
    assert {tuple(values) for values in given.claimed("measured")} == {(-2.0, -4.0, -6.0, -6.0)}


def test_a_metric_that_one_rank_adds_is_heard_on_all(given: TorchRun) -> None:
    assert all(heard and set(heard) == {7.0} for heard in given.claimed("heard")), given


def test_predictions_that_cannot_be_sent_are_refused_at_the_first_batch(given: TorchRun) -> None:
    for message, made in given.claimed("refused"):
        assert "predictions of several ranks can't be put together" in message
        assert made <= 1


def test_one_process_goes_on_at_the_sample_where_a_distributed_sampler_stopped(
    given: TorchRun, folder: Path
) -> None:
    before = [n for part in given.claimed("strided: trained on") for n in part]
    loader = DataLoader(DATA, batch_size=2, sampler=DistributedSampler(DATA, 1, 0))

    assert sorted(before + in_one_process(folder / "strided", loader)) == EVERY_SAMPLE


def test_one_process_begins_the_epoch_of_each_rank_s_own_data_again_and_says_so(
    given: TorchRun, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = given.claimed("own: trained on")
    batches = [[DATA.tensors[0][start : start + 4]] for start in range(0, 24, 4)]

    assert in_one_process(folder / "own", iter(batches)) == EVERY_SAMPLE
    assert f"the {sum(map(len, before))} samples of it that were trained on" in caplog.text
    assert "the same sample" not in caplog.text
