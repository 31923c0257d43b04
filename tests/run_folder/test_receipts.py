"""The chain of a receipt, its signature, and what is refused as one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from trackside.errors import ConfigurationError, UsageError
from trackside.run_folder.names import RECEIPT
from trackside.run_folder.receipts import Entry, Receipt, key_of, read, sha256_of_file, write

CONTENTS: list[tuple[str, dict[str, Any]]] = [
    ("run", {"id": "a"}),
    ("records", {"count": 3}),
    ("outcome", {}),
]
KEY = b"k" * 32


def with_entry(receipt: Receipt, place: int, **changes: object) -> Receipt:
    entries = list(receipt.entries)
    entries[place] = dataclasses.replace(entries[place], **changes)  # type: ignore[arg-type]
    return Receipt(tuple(entries), receipt.signature)


def test_a_receipt_reads_back_as_it_was_written(tmp_path: Path) -> None:
    receipt = Receipt.of(CONTENTS, KEY)

    write(tmp_path, receipt)

    assert read(tmp_path) == receipt
    assert receipt.broken_at() is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_changed_entry_is_named(place: int) -> None:
    changed = with_entry(Receipt.of(CONTENTS, None), place, content={"count": 4})

    assert changed.broken_at() == CONTENTS[place][0]


def test_an_entry_that_is_left_out_breaks_the_chain_behind_it() -> None:
    receipt = Receipt.of(CONTENTS, None)

    assert Receipt((receipt.entries[0], receipt.entries[2])).broken_at() == "outcome"


def test_a_chain_that_was_computed_again_has_a_wrong_signature() -> None:
    forged = Receipt.of([*CONTENTS[:1], ("records", {"count": 4}), CONTENTS[2]], None)
    forged = Receipt(forged.entries, Receipt.of(CONTENTS, KEY).signature)

    assert forged.broken_at() is None
    assert forged.signed_by(KEY) == "wrong"


def test_a_signature_is_valid_for_its_key_alone() -> None:
    receipt = Receipt.of(CONTENTS, KEY)

    assert receipt.signed_by(KEY) == "valid"
    assert receipt.signed_by(b"x" * 32) == "wrong"
    assert receipt.signed_by(None) == "not checked"
    assert Receipt.of(CONTENTS, None).signed_by(KEY) == "missing"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format_version": 9}', '{"format_version": 1, "entries": [1]}']
)
def test_another_file_is_no_receipt(tmp_path: Path, text: str) -> None:
    (tmp_path / RECEIPT).write_text(text)

    with pytest.raises(UsageError, match="must be a receipt"):
        read(tmp_path)


def test_entries_of_other_types_are_no_receipt(tmp_path: Path) -> None:
    entry = dataclasses.asdict(Entry("run", {}, ""))
    content = {"format_version": 1, "entries": [{**entry, "content": 5}], "signature": None}
    (tmp_path / RECEIPT).write_text(json.dumps(content))

    with pytest.raises(UsageError, match="no entries that can be read"):
        read(tmp_path)


def test_a_folder_without_a_receipt_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the callback `Receipt`"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        ("run/key", KEY, "lies in the folder of the run"),
        ("key", b"short", "has 5 bytes"),
        ("key", None, "can't be read"),
    ],
)
def test_a_key_that_protects_nothing_is_refused(
    tmp_path: Path, place: str, content: bytes | None, message: str
) -> None:
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / place).write_bytes(content)

    with pytest.raises(ConfigurationError, match=message):
        key_of(tmp_path / place, tmp_path / "run")


def test_only_the_part_below_a_limit_is_digested(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456")
    (tmp_path / "b").write_bytes(b"1234")

    assert sha256_of_file(tmp_path, "a", limit_bytes=4) == sha256_of_file(tmp_path, "b")
    assert sha256_of_file(tmp_path, "c") is None
