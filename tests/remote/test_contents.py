"""The ledger of a remote folder: only what could have been written is read."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.checkpoint.ledger import Entry
from trackside.checkpoint.sealed import seal, unseal
from trackside.remote.contents import Contents, Kept, Part, Stored, object_name, parse

STEP = "step-0000000002"
OBJECT = object_name("0" * 32, 3, "abcdef01", 0)
STORED = Stored(3, "1" * 32, (Part(OBJECT, 3, "0" * 32),))
CONTENTS = Contents(
    3,
    "abcdef01",
    "run",
    files={"history.jsonl": STORED},
    checkpoints={
        "step-0000000002": Kept(
            Entry("step-0000000002", 2, 1, "2" * 32), "run", {"state.json": STORED}
        )
    },
)


def test_a_ledger_is_read_as_it_was_written() -> None:
    assert parse(CONTENTS.to_bytes()) == CONTENTS
    assert CONTENTS.objects() == {OBJECT}


def test_a_ledger_that_is_torn_is_not_read() -> None:
    with pytest.raises(ValueError, match="JSON"):
        parse(CONTENTS.to_bytes()[:-20])


def _changed(change: Any) -> bytes:
    content, _ = unseal(CONTENTS.to_bytes())
    change(content)
    return seal(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["files"].update({"../outside": c["files"]["history.jsonl"]}),
        lambda c: c["files"].update({"/etc/passwd": c["files"]["history.jsonl"]}),
        lambda c: c["files"].update({"a/./b": c["files"]["history.jsonl"]}),
        lambda c: c["checkpoints"].update({"../step": c["checkpoints"][STEP]}),
        lambda c: c["checkpoints"][STEP]["files"].update({"a/b": c["files"]["history.jsonl"]}),
        lambda c: c["files"]["history.jsonl"]["parts"][0].update(name="../../secret"),
        lambda c: c["files"]["history.jsonl"]["parts"][0].update(name="objects/../x"),
        lambda c: c["files"]["history.jsonl"].update(size_bytes=4),
        lambda c: c["files"]["history.jsonl"].update(size_bytes="3"),
        lambda c: c["files"]["history.jsonl"].update(digest=None),
        lambda c: c.update(folder="../.."),
        lambda c: c.update(run_id="a/b"),
        lambda c: c.update(written="7"),
        lambda c: c.update(returns=[["1", 2]]),
        lambda c: c.update(returns=7),
        lambda c: c.update(format_version=99),
        lambda c: c.pop("files"),
    ],
)
def test_names_that_lead_out_and_values_of_other_types_are_refused(change: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(_changed(change))
