"""The first samples of named data, and a look at a model that leaves no trace."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.pictures.scenes import Looker, tiny_pictures
from tests.device import same
from trackside import Callback
from trackside.callbacks import EMA
from trackside.callbacks.pictures.samples import (
    cut,
    first_samples,
    inputs_of,
    joined,
    layers_of,
    undisturbed,
)
from trackside.errors import ConfigurationError, UnknownDataError
from trackside.run import Run


def during(look: Any, **options: Any) -> Any:
    """What `look(run)` returns when a run has begun."""
    found: list[Any] = []

    class Looks(Callback):
        def on_fit_start(self, run: Run) -> None:
            found.append(look(run))

    task = tiny_pictures()
    others = options.pop("others", [])
    task.trainer(callbacks=[*others, Looks()], **options).fit(task.train, task.validation, steps=1)
    return found[0]


@pytest.mark.parametrize("count", [3, 8, 10, 99])
def test_samples_are_the_first_of_the_data_in_its_order(count: int) -> None:
    images, target = during(lambda run: first_samples(run, "val", count))

    expected = tiny_pictures().validation.dataset.tensors  # type: ignore[attr-defined]
    assert torch.equal(images, expected[0][:count])
    assert torch.equal(target, expected[1][:count])


def test_data_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownDataError, match="did you mean `val`"):
        during(lambda run: first_samples(run, "vall", 3))


@pytest.mark.parametrize(
    "batch",
    [
        [torch.arange(3), torch.ones(3, 2)],
        {"x": torch.arange(3), "names": ["a", "b", "c"]},
        [torch.arange(3), ("a", "b", "c")],
    ],
)
def test_batches_of_any_form_are_cut_and_joined(batch: Any) -> None:
    whole, again = cut(batch, 3), joined([cut(batch, 2), _rest(batch)])

    assert repr(whole) == repr(again)


def _rest(batch: Any) -> Any:
    parts = batch.items() if isinstance(batch, dict) else enumerate(batch)
    rest = {key: part[2:] if isinstance(part, Tensor) else list(part[2:]) for key, part in parts}
    return rest if isinstance(batch, dict) else list(rest.values())


def test_a_cut_keeps_no_large_batch_alive() -> None:
    large = torch.zeros(100, 1000)

    assert cut(large, 2).untyped_storage().nbytes() == 2 * 1000 * 4


def test_targets_are_no_images() -> None:
    images = torch.rand(2, 4, 4)

    assert inputs_of([torch.arange(2), {"image": images}]) is images
    assert inputs_of([torch.arange(2)]) is None


def test_a_look_leaves_modes_generators_and_requests_as_they_were() -> None:
    def look(run: Run) -> tuple[Any, ...]:
        run.model.get_submodule("drop").eval()
        modes = [module.training for module in run.model.modules()]
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        with undisturbed(run):
            assert not any(module.training for module in run.model.modules())
            run.stop("not meant")
            drawn_inside = random.random(), np.random.rand(), float(torch.rand(()))
        drawn = random.random(), np.random.rand(), float(torch.rand(()))
        return (
            modes,
            [m.training for m in run.model.modules()],
            drawn_inside,
            drawn,
            [*run.requests],
        )

    before, after, inside, drawn, requests = during(look)

    assert before == after
    assert inside == drawn
    assert requests == []


def test_a_look_can_be_one_at_averages_and_the_weights_come_back() -> None:
    def look(run: Run) -> tuple[Tensor, Tensor, Tensor]:
        bias = run.model.get_parameter("head.bias")
        with torch.no_grad():
            bias.fill_(5.0)
        with undisturbed(run, "ema"):
            inside = bias.detach().clone()
        return inside, bias.detach().clone(), tiny_pictures().model.get_parameter("head.bias")

    inside, after, first = during(look, others=[EMA()])

    assert same(inside, first)
    assert (after == 5.0).all()


def test_a_compiled_model_runs_as_it_was_written_and_is_not_compiled_anew() -> None:
    compiled, heard = [], []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph.forward

    model = torch.compile(Looker(), backend=backend, dynamic=False)
    run: Any = Run("fit")
    run.models = {"model": model}
    run.precision = type("Precision", (), {"autocast": None})()
    model(torch.rand(2, 1, 4, 6))
    before = len(compiled)
    layers = layers_of(model)  # type: ignore[arg-type]
    handle = layers["cut"].register_forward_hook(lambda *args: heard.append(1))
    with undisturbed(run):
        model(torch.rand(3, 1, 4, 6))
    handle.remove()

    assert heard == [1]
    assert len(compiled) == before
    assert set(layers) >= {"cut", "attend", "attend.out_proj"}
    assert not any("_orig_mod" in name for name in layers)


def test_a_callback_without_averages_is_refused() -> None:
    from trackside.callbacks.pictures.samples import check_average

    with pytest.raises(ConfigurationError, match="'emma' has averages"):
        during(lambda run: check_average(run, "emma"), others=[EMA()])


def test_layers_are_named_as_in_the_model() -> None:
    assert set(layers_of(nn.Sequential(nn.Linear(1, 1), nn.ReLU()))) == {"0", "1"}
