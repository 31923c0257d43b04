"""Steps that call a model past `run.model(...)`, and words for what ranks can't train."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from trackside import Run, Trainer
from trackside.distributed.words import explanation

from .conftest import StartForked, TorchRun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]


@pytest.fixture(
    scope="module",
    params=[
        ("ddp", 2),
        *(pytest.param(case, marks=pytest.mark.slow) for case in [("ddp", 3), ("fsdp", 2)]),
        pytest.param(("fsdp", 3), marks=pytest.mark.slow),
    ],
    ids="{0[0]} on {0[1]} ranks".format,
)
def run(
    on_ranks: StartForked,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> TorchRun:
    strategy, ranks = request.param
    done = on_ranks(
        "past_the_model.py",
        tmp_path_factory.mktemp("run"),
        strategy,
        ranks=ranks,
        timeout_seconds=200,
    )
    assert (done.exit_code, done.hung) == (0, False), done
    return done


CALLS = {
    "Plain": 0,
    "Own": 0,
    "Method": 0,
    "Parts": 0,
    "Optimized": 0,
    "ByHand": 0,
    "accumulated": 1,
    "unfrozen": 2,
}
"""Each way to call, with which loop by hand its weights have to be those of."""


@pytest.mark.parametrize("call", CALLS)
def test_however_a_step_calls_the_model_the_weights_are_those_of_one_process(
    run: TorchRun, call: str
) -> None:
    by_hand = run.claimed("by hand")[0][CALLS[call]]

    for weights in run.claimed(call):
        assert weights == pytest.approx(by_hand, rel=1e-10, abs=1e-12), run


def test_parts_may_be_called_where_a_step_evaluates_or_predicts(run: TorchRun) -> None:
    loss, predictions = run.claimed("untrained")[0]

    for evaluated, predicted in zip(
        run.claimed("evaluated"), run.claimed("predicted"), strict=True
    ):
        assert evaluated == pytest.approx(loss, rel=1e-12)
        assert predicted == pytest.approx(predictions, rel=1e-12)


REFUSED = {
    "unfrozen within an epoch": ("UsageError", "body.weight was unfrozen", "on_epoch_start"),
    "unfrozen on one rank": ("DisagreementError", "body.weight", "Unfreeze"),
    "elsewhere": ("ConfigurationError", "`extra.weight`", "configure_model"),
    "shapes": ("DisagreementError", "0.weight differs on rank", "float64 [3, 4] on rank 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_ranks_cannot_train_is_refused_by_name_with_the_way_out(
    run: TorchRun, case: str
) -> None:
    for text in run.claimed(case):
        assert all(part in text for part in REFUSED[case]), text


DDP_ALONE = {
    "unused": ("UsageError", "second.weight, second.bias", "find_unused_parameters=True"),
    "static": ("ConfigurationError", "accumulate=2", "leave `static_graph` out"),
    "the last step": ("DisagreementError", "first.weight", "find_unused_parameters=True"),
}
"""Refused by copies; shards have no such bounds."""


@pytest.mark.parametrize("case", DDP_ALONE)
def test_what_copies_cannot_train_is_refused_by_name_and_shards_train_it(
    run: TorchRun, case: str
) -> None:
    sharded = "static" not in run.ranks[0].claims
    for text in run.claimed(case) if not sharded or case in run.ranks[0].claims else ():
        if sharded:
            assert isinstance(text, list), text
        else:
            assert all(part in text for part in DDP_ALONE[case]), text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Expected to have finished reduction in the prior iteration", "some that no loss reached"),
        (
            "did not receive grad for rank 1: 1. Expected to have finished reduction in the prior "
            "iteration. Parameter indices which did not receive grad for rank 1: 1",
            "bias",
        ),
        (
            "Expected to mark a variable ready only once. Parameter at index 1 with name "
            "model.bias has been marked as ready twice",
            "bias",
        ),
        ("got mixed torch.Tensor and DTensor", "`run.model`"),
        ("Your training graph has changed in this iteration", "find_unused_parameters=True"),
        ("expect_autograd_hooks_ INTERNAL ASSERT FAILED", "static_graph"),
    ],
)
def test_raw_words_of_torch_get_a_remedy(said: str, words: str) -> None:
    replicas: Any = SimpleNamespace(averaged_names=lambda: iter(["weight", "bias"]))

    found = explanation(said, replicas)

    assert words in str(found)
    assert "to fix:" in str(found)


def test_other_words_stay() -> None:
    replicas: Any = SimpleNamespace(averaged_names=lambda: iter([]))

    assert explanation("mat1 and mat2 shapes cannot be multiplied", replicas) is None


def test_the_model_of_a_trainer_is_that_of_its_run_while_there_is_one(tmp_path: Path) -> None:
    made = nn.Linear(1, 1)
    trainer = Trainer(lambda: made, defaults=False)
    assert trainer.model is not made

    run = Run("fit", tmp_path)
    trainer._run = run
    assert trainer.model is not made, "nothing is made yet"
    run.models = {"model": made}
    assert trainer.model is made
