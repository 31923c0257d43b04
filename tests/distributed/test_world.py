from __future__ import annotations

import pytest
import torch

from tests.distributed.conftest import StartForked, TorchRun
from trackside.distributed.world import World
from trackside.errors import TracksideError

# --- two processes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(on_ranks: StartForked) -> TorchRun:
    return on_ranks("world.py")


real = pytest.mark.distributed


@real
def test_two_processes_join_and_leave_in_order(two: TorchRun) -> None:
    assert (two.exit_code, two.hung) == (0, False), str(two)
    assert two.claimed("open before leaving") == [True, True]
    assert two.claimed("open after leaving") == [False, False]


@real
def test_each_rank_knows_its_place(two: TorchRun) -> None:
    assert two.claimed("place") == [[0, 2, 0, True, "cpu"], [1, 2, 1, False, "cpu"]]


@real
def test_joining_twice_gives_the_same_world(two: TorchRun) -> None:
    assert two.claimed("joined twice is one world") == [True, True]


@real
def test_a_second_world_can_be_joined_after_leaving_the_first(two: TorchRun) -> None:
    assert two.claimed("a second world") == [0.5, 0.5]


@real
@pytest.mark.parametrize(
    ("op", "tensor", "number", "mapping"),
    [
        ("mean", [1.5, 3.0], 1.5, {"b": 1.5, "a": [[1.0, 0.5]], "c": 0.25}),
        ("sum", [3.0, 6.0], 3, {"b": 3, "a": [[2.0, 1.0]], "c": 0.5}),
        ("min", [1.0, 2.0], 1, {"b": 1, "a": [[1.0, 0.0]], "c": 0.0}),
        ("max", [2.0, 4.0], 2, {"b": 2, "a": [[1.0, 1.0]], "c": 0.5}),
    ],
)
def test_all_reduce_combines_tensors_numbers_and_mappings(
    two: TorchRun, op: str, tensor: list[float], number: float, mapping: dict[str, object]
) -> None:
    assert two.claimed(f"tensor {op}") == [tensor] * 2
    assert two.claimed(f"number {op}") == [number] * 2
    assert two.claimed(f"mapping {op}") == [mapping] * 2


@real
def test_the_mean_of_whole_numbers_is_not_whole(two: TorchRun) -> None:
    assert two.claimed("mean of whole numbers") == [[0.5, 1.0]] * 2


@real
def test_bools_are_reduced_as_bools(two: TorchRun) -> None:
    assert two.claimed("max of bool") == [[True, False]] * 2


@real
def test_one_rank_may_pass_a_whole_number_and_another_a_float(two: TorchRun) -> None:
    assert two.claimed("one passes 1 and another 1.0") == [2, 2]


@real
def test_all_reduce_leaves_its_argument_alone(two: TorchRun) -> None:
    assert two.claimed("argument untouched") == [0.0, 1.0]


@real
def test_all_reduce_keeps_the_dtype(two: TorchRun) -> None:
    assert two.claimed("dtype kept") == ["torch.bfloat16"] * 2


@real
def test_an_empty_mapping_reduces_to_an_empty_one(two: TorchRun) -> None:
    assert two.claimed("empty mapping") == [{}, {}]


@real
def test_mappings_of_other_names_are_an_error_on_every_rank(two: TorchRun) -> None:
    message = "ranks reduce mappings of different names or shapes"
    assert two.claimed("other names") == [message] * 2


@real
def test_sum_by_name_merges_what_only_some_ranks_have(two: TorchRun) -> None:
    merged = {
        "loss": [1.0, 1.0],
        "only/0": [0.5, 2.0],
        "both": [0.1 + 0.2, 2.0],
        "only/1": [0.5, 2.0],
    }
    assert two.claimed("sum by name") == [merged] * 2
    assert [list(names) for names in two.claimed("sum by name")] == [list(merged)] * 2
    assert two.claimed("sum of nothing") == [{}, {}]


@real
def test_gather_takes_values_and_tensors_of_different_lengths(two: TorchRun) -> None:
    objects = [
        {"rank": 0, "text": "", "nested": [1, None, 2.5]},
        {"rank": 1, "text": "x", "nested": [1, None, 2.5]},
    ]
    assert two.claimed("gather objects") == [objects] * 2
    lengths = [[3, length] for length in (*range(980, 1040), 5000)]
    assert two.claimed("gather long") == [lengths] * 2
    assert two.claimed("gather tensors") == [[[], [0.0, 1.0, 2.0]]] * 2
    assert two.claimed("gather nested") == [[True, [1.0, 1.0], "torch.bfloat16"]] * 2


@real
def test_gather_in_order_restores_the_order_of_the_data_and_drops_padding(two: TorchRun) -> None:
    assert two.claimed("rows in order") == [[0.0, 10.0, 20.0, 30.0, 40.0]] * 2
    assert two.claimed("items in order") == [["s0", "s1", "s2", "s3", "s4"]] * 2


@real
def test_gather_in_order_takes_a_rank_without_samples(two: TorchRun) -> None:
    assert two.claimed("a rank without samples") == [[2, 3]] * 2
    assert two.claimed("no samples at all") == [[], []]


@real
def test_broadcast_gives_every_rank_the_source_s_value(two: TorchRun) -> None:
    assert two.claimed("broadcast tensor") == [[1.0, 1.0]] * 2
    assert two.claimed("broadcast value") == [{"a": 0}] * 2
    assert two.claimed("broadcast large") == [10000.0] * 2


@real
def test_on_rank_zero_calls_once_and_tells_all(two: TorchRun) -> None:
    assert two.claimed("on rank zero") == ["by 0", "by 0"]


@real
def test_an_error_on_rank_zero_is_an_error_everywhere(two: TorchRun) -> None:
    assert two.claimed("failure on rank zero") == [
        "ValueError: no space left",
        "TracksideError: rank 0 failed for all ranks: ValueError: no space left",
    ]


@real
def test_a_thread_beside_the_loop_has_its_own_turns(two: TorchRun) -> None:
    assert two.claimed("loop's turns") == [100.0, 100.0]
    assert two.claimed("thread's turns") == [200.0, 200.0]


# --- one process ---------------------------------------------------------------------------------


def test_in_one_process_everything_is_the_identity_without_a_process_group() -> None:
    world, x = World(), torch.tensor([1.0, 2.0])
    assert world.all_reduce(x) is x
    assert world.all_reduce(3, "sum") == 3
    assert world.all_reduce({"a": 1, "b": x}, "max") == {"a": 1, "b": x}
    assert world.sum_by_name({"a": x}) == {"a": x}
    assert world.gather(x) == [x]
    assert world.broadcast("text") == "text"
    assert world.on_rank_zero(lambda: 5) == 5
    world.barrier()
    assert world.beside() is world
    assert not torch.distributed.is_initialized()


def test_in_one_process_the_mean_of_whole_numbers_is_a_float_too() -> None:
    assert type(World().all_reduce(3)) is float
    assert World().all_reduce(torch.tensor([1, 2])).dtype == torch.float32


def test_in_one_process_gather_in_order_sorts() -> None:
    assert World().gather_in_order(["b", "a", "b again"], [1, 0, 1]) == ["a", "b"]
    rows = World().gather_in_order(torch.tensor([[1.0], [0.0]]), [1, 0])
    assert rows.tolist() == [[0.0], [1.0]]


def test_gather_in_order_wants_one_index_per_item() -> None:
    with pytest.raises(TracksideError, match="one index per item"):
        World().gather_in_order(["a"], [0, 1])


def test_a_world_of_several_needs_process_groups() -> None:
    with pytest.raises(TracksideError, match="needs process groups"):
        World(0, 2)
