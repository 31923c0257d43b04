"""Programs do what the model does, or are refused; what is written is whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from trackside.callbacks.saving.exporting import (
    Traced,
    arguments,
    compare,
    host_copy,
    run_onnx,
    tensors_in,
    to_onnx,
    trace,
    write_whole,
)
from trackside.checkpoint.errors import CheckpointWriteError
from trackside.errors import NonFiniteError, TracksideError, UsageError


class Small(nn.Module):
    """Dropout and batch norm, so that training and evaluation differ."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x)
        return scores


class Mapped(nn.Module):
    """Called by keyword, in another order than its own; answers with a mapping."""

    def forward(self, scale: Tensor, x: Tensor) -> dict[str, Tensor]:
        return {"scaled": x * scale, "sum": x.sum(dim=1)}


class Pair(NamedTuple):
    inputs: Tensor
    target: Tensor


BATCH = [torch.rand(6, 4), torch.arange(6)]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (BATCH, ((BATCH[0],), {})),
        (Pair(*BATCH), ((BATCH[0],), {})),
        (BATCH[0], ((BATCH[0],), {})),
        ({"x": 1, "labels": 2}, ((), {"x": 1})),
        (({"x": 1, "y": 2}, 3), ((), {"x": 1, "y": 2})),
    ],
)
def test_a_model_is_called_with_the_inputs_of_a_batch(batch: Any, expected: Any) -> None:
    assert arguments(batch) == expected


@pytest.mark.parametrize("samples", [1, 2, 6])
def test_any_size_of_batch_can_be_given_whatever_the_example_had(samples: int) -> None:
    traced = trace(host_copy(Small()), [part[:samples] for part in BATCH], dynamic_batch=True)

    for size in (1, 2, 5, 100):
        x = torch.rand(size, 4)
        assert torch.equal(traced.program.module()(x), traced.model(x))


def test_a_fixed_size_is_built_in_where_it_is_asked_for() -> None:
    traced = trace(host_copy(Small()), BATCH, dynamic_batch=False)

    traced.program.module()(torch.rand(4, 4))
    with pytest.raises(RuntimeError, match="equal to 4"):
        traced.program.module()(torch.rand(5, 4))


def test_mappings_are_given_by_keyword() -> None:
    batch = {"x": torch.rand(6, 4), "scale": torch.rand(6, 1), "labels": torch.arange(6)}
    traced = trace(host_copy(Mapped()), batch, dynamic_batch=True)

    compare(traced, traced.program.module(), 1e-6, "the program")


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(4, -1)


@pytest.mark.parametrize("model", [Decides(), Counts()])
def test_a_model_that_can_not_be_traced_is_named_with_a_remedy(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="can't be exported") as refused:
        trace(host_copy(model), BATCH, dynamic_batch=True)

    assert refused.value.__cause__ is not None
    assert "torch.where" in str(refused.value)


def traced(model: nn.Module | None = None) -> Traced:
    return trace(host_copy(model or Small()), BATCH, dynamic_batch=True)


def test_outputs_that_differ_are_refused_with_size_and_difference() -> None:
    one = traced()

    with pytest.raises(TracksideError, match="with batches of 4") as refused:
        compare(one, lambda x: one.model(x) + 0.1, 1e-4, "the program")
    assert "Tensor-likes are not close" in str(refused.value)


def test_a_difference_in_another_size_of_batch_is_found() -> None:
    one = traced()

    with pytest.raises(TracksideError, match="with batches of 3"):
        compare(one, lambda x: one.model(x) + 0.1 * (len(x) == 3), 1e-4, "the program")


def test_a_missing_output_is_found() -> None:
    with pytest.raises(TracksideError, match="does not do what the model does"):
        compare(traced(), lambda x: [], 1e-4, "the program")


def test_a_model_whose_outputs_are_not_finite_is_refused() -> None:
    model = Small()
    with torch.no_grad():
        model.get_parameter("layers.3.bias").fill_(float("nan"))
    one = traced(model)

    with pytest.raises(NonFiniteError, match="not finite"):
        compare(one, one.program.module(), 1e-4, "the program")


def test_a_copy_leaves_the_model_as_it_is() -> None:
    model = Small().train()
    copied = host_copy(model)
    with torch.no_grad():
        copied.get_parameter("layers.0.weight").zero_()

    assert model.training
    assert not copied.training
    assert model.get_parameter("layers.0.weight").abs().sum() > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: torch.compile(m, backend="eager")])
@pytest.mark.parametrize("plain", [True, False])
def test_other_weights_are_found_by_plain_name_or_by_that_of_the_wrapped_model(
    wrap: Any, plain: bool
) -> None:
    other = Small()
    model = wrap(Small())
    state = other.state_dict() if plain else wrap(other).state_dict()
    copied = host_copy(model, state)

    assert type(copied) is Small
    x = torch.rand(2, 4)
    assert torch.equal(copied(x), other.eval()(x))


@pytest.mark.skipif(
    torch.__version__ < "2.9", reason="torch.export.save pickles the weights before torch 2.9"
)
def test_neither_data_nor_anything_pickled_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    torch.export.save(traced().program, file)

    with zipfile.ZipFile(file) as archive:
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        configs = [name for name in sizes if name.endswith("_config.json")]
        kept = [json.loads(archive.read(name))["config"] for name in configs]
    assert [size for name, size in sizes.items() if "sample_inputs" in name] in ([], [0])
    weights = {name: entry for config in kept for name, entry in config.items()}
    assert set(weights) >= {"layers.0.weight", "layers.3.bias"}
    assert not any(entry["use_pickle"] for entry in weights.values())


@pytest.mark.parametrize("order", [("x", "scale"), ("scale", "x")])
def test_an_onnx_file_gets_each_input_by_its_name(tmp_path: Path, order: tuple[str, str]) -> None:
    import onnx.reference

    values = {"x": torch.rand(6, 4), "scale": torch.rand(6, 1)}
    one = trace(host_copy(Mapped()), {name: values[name] for name in order}, dynamic_batch=True)
    file = tmp_path / "model.onnx"
    to_onnx(one).save(file)

    compare(one, run_onnx(file, onnx), 1e-5, "the ONNX file")


class Eigenvalues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigh(x.T @ x)[0]
        return values


def test_a_model_that_onnx_has_no_words_for_is_refused_with_the_reason() -> None:
    one = trace(Eigenvalues(), torch.rand(6, 4), dynamic_batch=True)

    with pytest.raises(UsageError, match=r"to ONNX by torch [\d.]+.*\n.*_linalg_eigh"):
        to_onnx(one)


class Refuses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError


def test_an_error_without_a_message_is_named() -> None:
    with pytest.raises(UsageError, match="AssertionError: no message"):
        trace(Refuses(), torch.rand(6, 4), dynamic_batch=True)


def test_tensors_are_found_in_order() -> None:
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)

    assert [len(t) for t in tensors_in({"x": a, "y": [b, (c, "text", None)]})] == [1, 2, 3]


def test_what_is_written_is_whole_or_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.pt2"

    def writes(file: Path) -> None:
        file.write_text("first")

    write_whole(path, "run", writes)

    def fails(file: Path) -> None:
        file.write_text("half")
        raise OSError(28, "No space left on device", str(file))

    with pytest.raises(CheckpointWriteError, match="no space left"):
        write_whole(path, "run", fails)

    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["model.pt2"]


def test_files_beside_the_model_are_moved_with_it(tmp_path: Path) -> None:
    def write(file: Path) -> None:
        file.write_text("model")
        file.with_name("model.onnx.data").write_text("weights")

    write_whole(tmp_path / "model.onnx", "run", write)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
