"""One model is evaluated, averaged and saved on several ranks, batch norm included."""

from __future__ import annotations

import pytest

from .conftest import StartForked, TorchRun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]
TOLERANCE = 1e-12


@pytest.fixture(
    scope="module",
    params=[
        ("ddp", 3),
        *(
            pytest.param(case, marks=pytest.mark.slow)
            for case in [("ddp", 2), ("fsdp", 2), ("fsdp", 3), ("hsdp", 4)]
        ),
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
        "one_model.py",
        tmp_path_factory.mktemp("run"),
        strategy,
        ranks=ranks,
        timeout_seconds=200,
    )
    assert (done.exit_code, done.hung) == (0, False), done
    return done


@pytest.mark.parametrize("case", ["plain", "ema", "ema-copy", "swa"])
def test_the_loss_of_a_run_is_that_of_its_model_in_one_process(run: TorchRun, case: str) -> None:
    losses = [loss for of_rank in run.claimed(f"{case}: losses") for loss in of_rank]

    assert losses == pytest.approx([losses[0]] * len(losses), rel=TOLERANCE), run


@pytest.mark.parametrize("case", ["plain", "ema", "swa"])
def test_after_a_run_every_rank_has_the_buffers_of_rank_zero(run: TorchRun, case: str) -> None:
    first, *others = run.claimed(f"{case}: buffers")

    assert all(buffers == first for buffers in others)


def test_saved_weights_are_those_that_were_evaluated(run: TorchRun) -> None:
    recorded, of_file = run.ranks[0].claims["saved"]

    assert of_file == pytest.approx(recorded, rel=TOLERANCE)


def test_swa_measures_batch_norm_over_whole_batches(run: TorchRun) -> None:
    assert max(run.claimed("swa: difference from one process")) < TOLERANCE * 10


def test_training_is_not_changed_by_evaluations_and_saves(run: TorchRun) -> None:
    of_ranks = run.claimed("unwatched, resumed is the same")

    assert all(unwatched for strategies in of_ranks for unwatched, _ in strategies)


def test_a_resumed_run_has_the_same_bits_and_the_buffers_of_each_rank_again(run: TorchRun) -> None:
    of_ranks = run.claimed("unwatched, resumed is the same")

    assert all(resumed for strategies in of_ranks for _, resumed in strategies)
