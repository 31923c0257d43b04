from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoint.states import E8M0, equal
from trackside.checkpoint.storage import (
    read_tensors,
    shard_file_name,
    stored_tensors,
    write_pieces,
)
from trackside.checkpoint.tensors import STAND_INS, STORED_DTYPES, Piece, restore_stand_in


def whole(key: str, tensor: torch.Tensor) -> Piece:
    return Piece(key, tensor, (0,) * tensor.dim(), tuple(tensor.shape))


def part(key: str, tensor: torch.Tensor, *offsets: int, of: tuple[int, ...]) -> Piece:
    return Piece(key, tensor, offsets, of)


SHAPES = [(), (3,), (2, 0), (1, 2, 3)]
EVERY_KIND = {
    f"{dtype}{shape}": (torch.rand(shape) * 10).to(dtype)
    for dtype in (*STORED_DTYPES, *E8M0, torch.complex128)
    for shape in SHAPES
}


def test_tensors_of_every_dtype_and_shape_come_back(tmp_path: Path) -> None:
    write_pieces(tmp_path, [whole(key, tensor) for key, tensor in EVERY_KIND.items()], 0)
    back = read_tensors(tmp_path, [shard_file_name(1)], list(EVERY_KIND))
    for key, tensor in EVERY_KIND.items():
        read = back[key]
        if tensor.dtype in STAND_INS:
            read = restore_stand_in(read, tensor.dtype)
        assert equal(read, tensor), key


def test_the_file_of_one_rank_is_plain_safetensors(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3), "a": torch.tensor(2.5), "ü": torch.zeros(2, 0)}
    [entry] = write_pieces(tmp_path, [whole(*item) for item in tensors.items()], 0)
    assert equal(
        dict(sorted(load_file(tmp_path / entry.name).items())), dict(sorted(tensors.items()))
    )


@pytest.mark.skipif(
    torch.__version__ < "2.7", reason="torch.distributed.checkpoint reads no safetensors"
)
def test_torch_s_own_reader_reads_it(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    tensor = torch.randn(3, 2)
    write_pieces(tmp_path, [whole("x", tensor)], 0)
    state = {"x": torch.zeros(3, 2)}
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        load(state, storage_reader=HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    assert equal(state["x"], tensor)


@pytest.mark.not_standin("streams, which torch's own writer asks for")
@pytest.mark.skipif(
    torch.__version__ < "2.9", reason="torch.distributed.checkpoint writes no safetensors by rank"
)
def test_torch_s_own_writer_is_read(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    tensor = torch.randn(3, 2)
    writer = HuggingFaceStorageWriter(str(tmp_path), save_distributed=True)
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        save({"x": tensor}, storage_writer=writer, no_dist=True)
    assert equal(read_tensors(tmp_path, [shard_file_name(1)], ["x"])["x"], tensor)


def test_no_pieces_make_no_file(tmp_path: Path) -> None:
    assert write_pieces(tmp_path, [], 0) == []
    assert list(tmp_path.iterdir()) == []


def test_only_the_tensors_that_are_wanted_are_read(tmp_path: Path) -> None:
    write_pieces(tmp_path, [whole("a", torch.ones(1)), whole("b", torch.ones(1))], 0)
    assert list(read_tensors(tmp_path, [shard_file_name(1)], ["b"])) == ["b"]


def test_the_pieces_of_several_ranks_make_one_tensor(tmp_path: Path) -> None:
    tensor = torch.arange(35).reshape(7, 5)
    cuts = [(slice(0, 3), slice(0, 5)), (slice(3, 7), slice(0, 2)), (slice(3, 7), slice(2, 5))]
    for rank, (rows, columns) in enumerate(cuts):
        piece = tensor[rows, columns].contiguous()
        where = part("x", piece, rows.start, columns.start, of=(7, 5))
        write_pieces(tmp_path, [where, whole(f"own {rank}", torch.tensor(rank))], rank)
    names = [shard_file_name(index) for index in (1, 2, 3)]
    assert equal(read_tensors(tmp_path, names, ["x"])["x"], tensor)
    assert len(stored_tensors(tmp_path, names)["x"].pieces) == 3


def test_a_file_that_is_not_listed_is_not_read(tmp_path: Path) -> None:
    write_pieces(tmp_path, [whole("x", torch.ones(1))], 0)
    write_pieces(tmp_path, [whole("x", torch.zeros(1)), whole("y", torch.zeros(1))], 1)
    names = [shard_file_name(1)]
    assert equal(read_tensors(tmp_path, names, ["x"])["x"], torch.ones(1))
    with pytest.raises(ValueError, match="no file holds the tensor 'y'"):
        read_tensors(tmp_path, names, ["y"])


def file_with(folder: Path, header: dict[str, Any], data: bytes, rank: int = 0) -> list[str]:
    text = json.dumps(header).encode()
    name = shard_file_name(rank + 1)
    (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + data)
    return [shard_file_name(index) for index in range(1, rank + 2)]


def entry(shape: list[int], size_bytes: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, size_bytes]}


def about(offsets: Any) -> dict[str, str]:
    return {"DCP_SHARDING_INFO": json.dumps({"x": {"saved_offsets": offsets}})}


@pytest.mark.parametrize(
    "header",
    [
        {"x": entry([2**40], 4)},
        {"x": entry([2**40, 2**40], 4)},
        {"x": entry([-1], 4)},
        {"x": {**entry([1], 4), "dtype": "F8_E8M0"}},
        {"x": {**entry([1], 4), "dtype": "PICKLE"}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [100, 104]}},
        {"x": entry([1], 4), "__metadata__": about([2**40])},
        {"x": entry([1], 4), "__metadata__": about([2**70])},
        {"x": entry([1], 4), "__metadata__": about([-1])},
        {"x": entry([1], 4), "__metadata__": about(["0"])},
        {"x": entry([1], 4), "__metadata__": about([0, 0])},
        {"x": entry([1], 4), "__metadata__": about(None)},
        {"x": entry([1], 4), "__metadata__": {"DCP_SHARDING_INFO": "{"}},
    ],
    ids=json.dumps,
)
def test_a_header_that_claims_more_than_the_file_holds_is_refused(
    tmp_path: Path, header: dict[str, Any]
) -> None:
    names = file_with(tmp_path, header, b"1234")
    with pytest.raises(ValueError):
        read_tensors(tmp_path, names, ["x"])


@pytest.mark.parametrize("length", [0, 7, 8, 20])
def test_a_cut_header_is_refused(tmp_path: Path, length: int) -> None:
    write_pieces(tmp_path, [whole("x", torch.ones(1))], 0)
    path = tmp_path / shard_file_name(1)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError):
        read_tensors(tmp_path, [shard_file_name(1)], ["x"])


@pytest.mark.parametrize(
    "second",
    [
        pytest.param((0, 2), id="the same piece twice"),
        pytest.param((1, 2), id="overlapping"),
        pytest.param((3, 2), id="a hole"),
        pytest.param((2, 2**30), id="larger than its file"),
    ],
)
def test_pieces_that_do_not_make_a_whole_are_refused(
    tmp_path: Path, second: tuple[int, int]
) -> None:
    offset, rows = second
    file_with(tmp_path, {"x": entry([2], 8), "__metadata__": about([0])}, b"12345678")
    other = {"x": entry([rows], 8), "__metadata__": about([offset])}
    names = file_with(tmp_path, other, b"12345678", rank=1)
    with pytest.raises(ValueError):
        read_tensors(tmp_path, names, ["x"])


def test_overlapping_pieces_with_the_right_sum_are_refused(tmp_path: Path) -> None:
    # Four cells of a 2 x 2 tensor, one of them written twice and one never.
    for rank, offsets in enumerate([(0, 0), (0, 1), (1, 1), (1, 1)]):
        write_pieces(tmp_path, [part("x", torch.ones(1, 1), *offsets, of=(2, 2))], rank)
    with pytest.raises(ValueError, match="not whole"):
        read_tensors(tmp_path, [shard_file_name(i) for i in range(1, 5)], ["x"])


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    write_pieces(tmp_path, [whole("x", torch.ones(1))], 0)
    with pytest.raises(FileExistsError):
        write_pieces(tmp_path, [whole("x", torch.zeros(1))], 0)


def test_a_folder_that_has_vanished_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_pieces(tmp_path / "gone", [whole("x", torch.ones(1))], 0)
    assert list(tmp_path.iterdir()) == []
