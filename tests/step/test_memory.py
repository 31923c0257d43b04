"""Bytes of what a run keeps, and errors that say that memory ran out."""

from __future__ import annotations

import torch

from trackside.step.memory import bytes_of, is_out_of_memory


def test_each_tensor_counts_once_however_it_is_nested() -> None:
    one = torch.zeros(3, dtype=torch.float64)
    assert bytes_of({"a": [one, (one, {"b": torch.zeros(2, dtype=torch.int8)})], "c": "text"}) == 26


def test_words_of_another_error_are_not_taken_for_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
