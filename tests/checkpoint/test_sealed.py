from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.checkpoint.sealed import seal, unseal

CONTENT = {"b": [1, 2.5, None, "ü\n"], "a": {"nested": True}}
SEALED = seal(CONTENT)


def test_what_was_sealed_comes_back_with_its_digest() -> None:
    content, digest = unseal(SEALED)
    assert content == CONTENT
    assert digest.encode() in SEALED


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_every_flip_of_a_bit_is_noticed(place: int) -> None:
    for bit in range(8):
        flipped = bytearray(SEALED)
        flipped[place] ^= 1 << bit
        with pytest.raises(ValueError):
            unseal(bytes(flipped))


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_every_cut_is_noticed(length: int) -> None:
    with pytest.raises(ValueError):
        unseal(SEALED[:length])


@pytest.mark.parametrize(
    "data",
    [
        SEALED + b" ",
        SEALED.replace(b'"b"', b'"a": 1, "b"', 1),
        SEALED.replace(b"\n", b"\r\n"),
        SEALED.decode().encode("utf-16"),
        b"[" * 100_000,
        b'{"digest": ' * 100_000,
        b"[]",
        b'{"digest": 3}',
        b'{"a": NaN, "digest": "0"}',
        b'{"a": ' + b"9" * 5000 + b', "digest": "0"}',
        b"",
    ],
    ids=lambda data: str(data[:20]),
)
def test_every_other_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unseal(data)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False)))
def test_any_content_comes_back(content: dict[str, object]) -> None:
    content.pop("digest", None)
    if any(value in (float("inf"), float("-inf")) for value in content.values()):
        return
    assert unseal(seal(content))[0] == content


@pytest.mark.parametrize("content", [CONTENT, {}, {"digest of": "another"}])
def test_a_sealed_text_is_laid_out_as_json_of_its_entries(content: dict[str, object]) -> None:
    text = seal(content)
    entries = json.loads(text)
    assert list(entries) == [*content, "digest"]
    assert text == (json.dumps(entries, indent=1) + "\n").encode()
