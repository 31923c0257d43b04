from __future__ import annotations

import pytest
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from trackside.distributed.failure import (
    Failure,
    PeerFailed,
    is_consequence,
    publish,
    published,
)

GLOO = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_only_the_first_failure_is_kept() -> None:
    store = HashStore()
    first = Failure.of(raised(ValueError("one")), rank=1, step=3)
    second = Failure.of(raised(ValueError("two")), rank=0, step=4)
    assert published(store) is None
    assert publish(store, first) == first
    assert publish(store, second) == first
    assert published(store) == first


def test_a_failure_holds_the_whole_traceback_with_notes_and_causes() -> None:
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            error = ValueError("broken")
            error.add_note("in callback X")
            raise error from cause
    except ValueError as caught:
        failure = Failure.of(caught, rank=1, step=7)
    assert failure.summary == "ValueError: broken"
    assert all(word in failure.traceback for word in ("KeyError", "direct cause", "in callback X"))


def test_the_message_of_a_peer_s_failure_begins_with_whose_it_was() -> None:
    failure = Failure.of(raised(ValueError("broken")), rank=1, step=7)
    text = str(PeerFailed(failure, rank=0))
    assert text.startswith(
        "rank 0 ends because rank 1 failed first at step 7: ValueError: broken\n\nTraceback"
    )


def test_a_dead_process_is_told_with_a_remedy() -> None:
    text = str(PeerFailed(Failure.of_process(1, "died"), rank=0))
    assert "rank 1 failed first: its process ended without a word" in text
    assert "look at the log of rank 1" in text


@pytest.mark.parametrize(
    ("error", "consequence"),
    [
        (RuntimeError(GLOO), True),
        (dist.DistBackendError("NCCL communicator was aborted"), True),
        (dist.DistNetworkError("broken pipe"), True),
        (PeerFailed(Failure.of_process(1, "died"), 0), True),
        (ValueError(GLOO), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_a_broken_collective_may_be_a_consequence_and_nothing_else(
    error: BaseException, consequence: bool
) -> None:
    assert is_consequence(error) is consequence


def test_an_error_that_was_raised_from_a_broken_collective_is_a_consequence() -> None:
    wrapped = ValueError("metrics could not be reduced")
    wrapped.__cause__ = RuntimeError(GLOO)
    assert is_consequence(wrapped)


def test_a_cycle_of_causes_ends() -> None:
    error = ValueError("x")
    error.__context__ = other = ValueError("y")
    other.__context__ = error
    assert not is_consequence(error)
