from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoint.states import rank_state, small_state
from trackside.checkpoint import CheckpointWriter, Saving, inspect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    state = {**small_state(), "pair": (torch.ones(1), torch.ones(2, dtype=torch.complex128), 3)}
    saving = Saving(step=5, progress={"epochs_completed": 1}, metrics={"val/loss": 0.5})
    writer.save(state, saving, rank_state=rank_state())
    return tmp_path / "step-0000000005"


def test_it_tells_progress_sizes_and_whether_it_verified(folder: Path) -> None:
    found = inspect(folder)
    assert found.verified
    assert found.manifest is not None
    assert found.manifest.progress == {"epochs_completed": 1}
    assert found.manifest.metrics == {"val/loss": 0.5}
    assert found.manifest.size_bytes == sum(
        path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json"
    )


def test_it_tells_path_dtype_and_shape_of_every_tensor(folder: Path) -> None:
    tensors = {tensor.path: tensor for tensor in inspect(folder).tensors}
    weight = tensors["model.weight"]
    assert (weight.dtype, weight.shape, weight.pieces, weight.size_bytes) == (
        "float32",
        (8, 4),
        1,
        128,
    )
    assert tensors["optimizers.0.state.0.step"].shape == ()
    assert (tensors["pair.1"].dtype, tensors["pair.1"].shape) == ("complex128", (2,))
    assert tensors["rank-00000/torch"].dtype == "uint8"


def test_it_tells_the_states_of_callbacks_and_ranks_without_their_tensors(folder: Path) -> None:
    found = inspect(folder)
    assert found.values["callbacks"] == {
        "early_stopping": {"best": 0.5, "waited": 3},
        "window": (1, 2),
    }
    assert found.values["optimizers"][0]["state"] == {0: {}}
    assert found.values["pair"] == ("<tensor>", "<tensor>", 3)
    assert found.rank_values[0]["position"] == 0


def test_of_a_damaged_one_it_tells_what_is_wrong_and_what_can_be_known(folder: Path) -> None:
    (folder / "state.json").unlink()
    found = inspect(folder)
    assert not found.verified
    assert found.problems == ("state.json is missing",)
    assert found.manifest is not None
    assert found.manifest.step == 5
    (folder / "manifest.json").unlink()
    assert inspect(folder).problems == ("manifest.json is missing",)
