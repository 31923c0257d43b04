"""`Receipt` leaves the digests of a run that has ended."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from trackside import Callback, ConfigurationError, Run, Settings
from trackside.callbacks import Receipt
from trackside.callbacks.reporting.receipt_contents import chosen, data_content
from trackside.run_folder import receipts
from trackside.run_folder.names import RECEIPT
from trackside.testing import Task, tiny_regression


def fitted(folder: Path, *callbacks: Any, task: Task | None = None) -> Task:
    task = task or tiny_regression()
    settings = Settings(directory=folder)
    task.trainer(callbacks=[Receipt(), *callbacks], settings=settings).fit(task.train, epochs=1)
    return task


def test_it_changes_nothing_in_the_run(tmp_path: Path) -> None:
    plain = tiny_regression()
    plain.trainer().fit(plain.train, epochs=1)

    assert torch.equal(fitted(tmp_path).weights, plain.weights)


def test_it_is_written_when_all_others_have_closed(tmp_path: Path) -> None:
    there: list[bool] = []

    class Looks(Callback[Run]):
        def on_close(self, run: Run, outcome: Any) -> None:
            there.append((tmp_path / RECEIPT).exists())

    fitted(tmp_path, Looks())

    assert (there, (tmp_path / RECEIPT).exists()) == ([False], True)


def test_a_run_that_fails_has_none(tmp_path: Path) -> None:
    class Fails(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            raise RuntimeError("no")

    fitted(tmp_path)
    with pytest.raises(RuntimeError):
        fitted(tmp_path, Fails())

    assert not (tmp_path / RECEIPT).exists()


def test_records_are_digested_though_nobody_writes_them(tmp_path: Path) -> None:
    fitted(tmp_path)

    content = receipts.read(tmp_path).content("records")
    assert (content["count"] > 0, content["file"]) == (True, None)


def test_a_key_that_does_not_exist_is_refused_before_training(tmp_path: Path) -> None:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Receipt(tmp_path / "key")], settings=Settings(directory=tmp_path / "run")
    )
    with pytest.raises(ConfigurationError, match="can't be read"):
        trainer.fit(task.train, epochs=1)


class Noise(Dataset[Tensor]):
    """Samples with noise from all three generators, which counts what is loaded."""

    def __init__(self, length: int = 200, shift: float = 0.0) -> None:
        self.length, self.shift = length, shift

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Tensor:
        return torch.rand(2) + np.random.rand() + random.random() + number + self.shift


def test_data_with_random_changes_has_the_same_digest_each_time() -> None:
    torch.manual_seed(1)
    first = data_content(Noise())
    torch.manual_seed(2)

    assert data_content(DataLoader(Noise(), batch_size=4, shuffle=True)) == first
    assert first["method"].startswith("64 of 200 samples")


@pytest.mark.parametrize("other", [Noise(199), Noise(shift=1e-3)])
def test_other_data_has_another_digest(other: Noise) -> None:
    assert data_content(other)["sha256"] != data_content(Noise())["sha256"]


def test_the_generators_of_the_program_are_left_alone() -> None:
    before = torch.get_rng_state()

    data_content(Noise())

    assert torch.equal(torch.get_rng_state(), before)


def test_columns_by_name_are_rows() -> None:
    columns = {"x": torch.arange(6.0), "target": torch.ones(6)}

    assert data_content(columns)["samples"] == 6
    assert data_content(columns) != data_content({**columns, "target": torch.zeros(6)})


def test_data_without_numbers_is_digested_by_its_attributes() -> None:
    class Stream(IterableDataset[int]):
        def __init__(self, end: list[int]) -> None:
            self.end = end

        def __iter__(self) -> Any:
            return iter(self.end)

    content = data_content(Stream([1, 2]))

    assert content["method"] == "attributes, a few entries of each"
    assert content == data_content(Stream([1, 2]))
    assert content != data_content(Stream([1, 3]))


def test_the_samples_are_spread_over_the_data_with_both_ends() -> None:
    assert chosen(3) == [0, 1, 2]
    assert (chosen(1000)[0], chosen(1000)[-1], len(set(chosen(1000)))) == (0, 999, 64)
