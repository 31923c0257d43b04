"""Objects of Lightning that are given in the wrong place are refused with where they belong."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader

from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_stand_in import LightningDataModule, LightningModule
from trackside import Settings, Trainer
from trackside.data.source import DataSource
from trackside.errors import ConfigurationError, DataError, RegistrationError
from trackside.vocabulary.objects import place_of

Base = type("Strategy", (), {"__module__": "lightning.pytorch.strategies.strategy"})
Strategy = type("DDPStrategy", (Base,), {"__module__": "mine"})
Classifier = modules.classifier(LightningModule, nn)
Data = modules.data_module(LightningDataModule)


def test_what_has_no_such_class_among_its_bases_has_no_place() -> None:
    assert place_of(nn.Linear(1, 1)) is None
    assert place_of(type("Trainer", (), {"__module__": "mine"})()) is None


def test_a_data_module_given_as_data_of_another_model_is_refused_with_its_loaders() -> None:
    with pytest.raises(DataError, match=r"data\.train_dataloader\(\)"):
        DataSource("train", Data(), 4)


def test_the_class_of_a_data_module_is_refused_with_an_instance() -> None:
    with pytest.raises(DataError, match=r"an instance, `Data\(\.\.\.\)`"):
        DataSource("train", Data, 4)


def test_loaders_in_a_list_are_refused() -> None:
    loaders: list[Any] = [DataLoader(modules.data()), DataLoader(modules.data())]
    with pytest.raises(DataError, match="list of loaders"):
        DataSource("val", loaders, 4)


def test_a_module_among_the_callbacks_is_refused_on_one_line() -> None:
    with pytest.raises(RegistrationError, match=r"`Trainer\(MyModule\(\), \.\.\.\)`") as refused:
        Trainer(nn.Linear(1, 1), callbacks=[Classifier()])
    assert len(str(refused.value).splitlines()) <= 4


@pytest.mark.parametrize("given", [[Classifier()], {"a": Classifier()}])
def test_several_modules_at_once_are_refused_with_the_way(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="override `configure_model`") as refused:
        Trainer(given)
    assert len(str(refused.value).splitlines()) <= 4


Accelerator = type("Accelerator", (), {"__module__": "lightning.pytorch.accelerators"})


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (Classifier(), r"`Trainer\(MyModule\(\), \.\.\.\)`"),
        (Accelerator(), r"`Settings\(device='cuda'\)`"),
        (None, "'auto', 'cpu'"),
    ],
)
def test_what_is_no_device_is_refused_when_it_is_given(given: Any, way: str) -> None:
    with pytest.raises(ConfigurationError, match=way) as refused:
        Settings(given)
    assert len(str(refused.value).splitlines()) <= 4


@pytest.mark.parametrize("given", [Strategy(), "fdsp"])
def test_a_strategy_that_is_not_ours_is_refused_where_there_is_one_process_too(given: Any) -> None:
    settings = Settings(strategy=given)
    with pytest.raises(ConfigurationError, match="no way to train in parallel"):
        Trainer(nn.Linear(1, 1), settings=settings)
