"""Records to blocks of bytes and back."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.checkpoint import records
from trackside.checkpoint.records import Encoder, decode
from trackside.history import History, Record

NAMES = st.sampled_from(["train/loss", "val/loss", "lr/0", "größe", ""])
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.dictionaries(NAMES, st.floats(), max_size=4)), max_size=30
)


def history_of(rows: list[tuple[int, dict[str, float]]]) -> History:
    history, step = History(), 0
    for more, values in rows:
        step += more
        history.append(Record(values, step, step // 2, 8 * step, step / 3))
    return history


def text(history: History) -> list[str]:
    """Records to compare: NaN included, names in their order."""
    return [repr(record) for record in history]


def encoded(history: History) -> bytes:
    snapshot = history.snapshot()
    return b"".join(Encoder(snapshot.columns).blocks(snapshot.count))


def decoded(data: bytes) -> History:
    history = History()
    history.load_state_dict(decode(data))
    return history


@given(rows=ROWS, cut=st.integers(0, 30), size=st.sampled_from([1, 2, 100]))
def test_records_come_back_whatever_names_they_have_and_however_they_are_cut_into_blocks(
    rows: list[tuple[int, dict[str, float]]], cut: int, size: int
) -> None:
    history = history_of(rows)
    snapshot = history.snapshot()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_RECORDS", size)
        encoder = Encoder(snapshot.columns)
        data = b"".join([*encoder.blocks(min(cut, len(history))), *encoder.blocks(snapshot.count)])

    again = decoded(data)

    assert text(again) == text(history)
    assert again.names == history.names
    assert repr([again.latest(n) for n in again.names]) == repr(
        [history.latest(n) for n in history.names]
    )


@given(rows=ROWS, later=ROWS)
def test_what_is_appended_after_a_snapshot_is_no_part_of_it(
    rows: list[tuple[int, dict[str, float]]], later: list[tuple[int, dict[str, float]]]
) -> None:
    history = history_of(rows)
    before, snapshot = text(history), history.snapshot()
    step = history[-1].step if len(history) else 0
    for _, values in later:
        history.append(Record(values, step, 0, 0, 0.0))
    again = History()
    again.load_state_dict(snapshot)
    assert text(again) == before
    assert text(decoded(b"".join(Encoder(snapshot.columns).blocks(snapshot.count)))) == before


def test_a_name_is_written_once_however_many_records_have_it() -> None:
    history = history_of([(1, {"a name that is long enough to be seen": 0.5})] * 1000)
    assert encoded(history).count(b"a name that is long") == 1


def test_any_change_of_bytes_is_a_value_error_or_other_records_never_another_error() -> None:
    data = encoded(history_of([(1, {"a": 1.0}), (1, {"b": math.inf, "a": 2.0})] * 5))
    chance = random.Random(0)
    for _ in range(3000):
        harmed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            harmed[chance.randrange(len(data))] = chance.randrange(256)
        cut = chance.randrange(len(data)) if chance.random() < 0.3 else len(data)
        try:
            decode(bytes(harmed[:cut]))
        except ValueError:
            continue


@pytest.mark.parametrize(
    "header",
    [
        b"no JSON\n",
        b"[]\n",
        b'{"records": 1, "names": [], "tables": {}}\n',
        b'{"records": 1e9, "names": [], "tables": []}\n',
        b'{"records": 1000000000000, "names": [], "tables": [[]]}\n',
        b'{"records": 1, "names": [3], "tables": [[0]]}\n',
        b'{"records": 1, "names": ["a"], "tables": [[1]]}\n',
        b'{"records": 1, "names": ["a"], "tables": [[0, 0]]}\n',
        b'{"records": 1, "names": ["a"], "tables": [[0], [0]]}\n',
        b'{"records": 1, "names": [], "tables": []}\n' + bytes(36),
        b'{"records": 1, "names": ["a"], "tables": [[0]]}\n' + bytes(36),
    ],
)
def test_a_block_that_promises_what_it_does_not_hold_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|block"):
        decode(header)
