from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.distributed.conftest import StartForked, TorchRun
from trackside.distributed.parallel import OneProcess, follow
from trackside.distributed.world import World
from trackside.errors import OptimizerError

# Sums of floats in another order: two halves of a batch instead of the whole.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def two(on_ranks: StartForked) -> TorchRun:
    return on_ranks("parallel.py", timeout_seconds=100)


real = pytest.mark.distributed


def zero(run: TorchRun, name: str) -> Any:
    return run.claimed(name)[0]


@real
def test_the_program_ends_in_order(two: TorchRun) -> None:
    assert (two.exit_code, two.hung) == (0, False), str(two)


@real
@pytest.mark.parametrize(
    "how", ["ddp", "ddp, unused, no view", "fsdp built", "fsdp factory", "fsdp offload"]
)
def test_two_ranks_train_as_one_with_clipping_and_accumulation(two: TorchRun, how: str) -> None:
    norms, weights = zero(two, "one process")
    found_norms, found_weights = zero(two, how)
    assert found_norms == pytest.approx(norms, rel=TOLERANCE)
    assert found_weights.keys() == weights.keys()  # the user's own names
    for name, values in weights.items():
        assert found_weights[name] == pytest.approx(values, abs=TOLERANCE), name


@real
@pytest.mark.parametrize("how", ["ddp", "fsdp factory", "fsdp offload"])
def test_every_rank_gets_the_same_norm(two: TorchRun, how: str) -> None:
    first, second = two.claimed(how)
    assert first[0] == second[0]


@real
def test_one_block_for_the_whole_model_is_right_too(two: TorchRun) -> None:
    for name, values in zero(two, "one process")[1].items():
        assert zero(two, "fsdp no blocks")[name] == pytest.approx(values, abs=TOLERANCE)


@real
def test_all_ranks_start_from_the_weights_of_rank_zero(two: TorchRun) -> None:
    for name, values in zero(two, "rank 0 alone").items():
        assert zero(two, "ddp starts from rank 0")[name] == pytest.approx(values, abs=TOLERANCE)


@real
def test_mixed_precision_computes_in_bf16(two: TorchRun) -> None:
    exact, mixed = zero(two, "one process")[0], zero(two, "fsdp bf16")
    assert mixed != pytest.approx(exact, rel=TOLERANCE)
    assert mixed == pytest.approx(exact, rel=0.05)


@real
def test_each_rank_holds_its_part_of_the_parameters_only(two: TorchRun) -> None:
    parts = two.claimed("part of the parameters")
    assert sum(part for part, _ in parts) == parts[0][1]


@real
def test_the_words_name_the_strategies(two: TorchRun) -> None:
    alone_and_two = ["OneProcess", "DDP", "OneProcess", "DDP", "OneProcess", "FSDP"]
    assert zero(two, "choices") == [*alone_and_two, "OneProcess", "DDP"]


@real
def test_an_optimizer_made_before_sharding_follows(two: TorchRun) -> None:
    torch.manual_seed(3)
    weights = nn.Linear(5, 6).weight.flatten().tolist()
    assert zero(two, "optimizer follows")["0.weight"] != pytest.approx(weights, abs=TOLERANCE)


@real
def test_a_whole_state_of_ddp_loads_into_fsdp(two: TorchRun) -> None:
    assert two.claimed("loaded") == [True, True]


@real
def test_a_model_built_without_memory_starts_with_the_constructor_s_values(two: TorchRun) -> None:
    assert zero(two, "initial values are those of the constructor") == []
    assert two.claimed("tied stays tied") == [True, True]


@real
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("constructor's values", ("`0.scale`", "reset_parameters()", "Fixed")),
        ("no such block", ("Conv2d", "the model has Block, LayerNorm")),
        ("sync batch norm", ("needs an accelerator", "GroupNorm")),
        ("no such strategy", ("'fdsp'", "did you mean `fsdp`?")),
    ],
)
def test_what_cannot_work_is_refused_when_the_model_is_placed(
    two: TorchRun, case: str, words: tuple[str, ...]
) -> None:
    for text in two.claimed(case):
        assert all(word in text for word in words), text


def test_one_process_takes_the_model_as_it_is() -> None:
    model = nn.Linear(2, 2)
    assert OneProcess().place(model, World()) is model
    assert isinstance(OneProcess().place(lambda: nn.Linear(2, 2), World()), nn.Linear)
    assert OneProcess().unwrap(model) is model
    with OneProcess().no_sync(model):
        pass


def test_an_optimizer_with_state_cannot_follow() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with pytest.raises(OptimizerError, match="made steps before"):
        follow([optimizer], dict(model.named_parameters()), nn.Linear(2, 2))
