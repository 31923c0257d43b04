"""Addresses: what they may be, and what is never shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackside import ConfigurationError, Settings
from trackside.remote.address import Address, address_in, shown


@pytest.mark.parametrize(
    ("given", "mirror"),
    [
        ("memory://bucket/run/", "runs/memory/bucket/run"),
        ("file:///data/runs/a_b", "runs/file/data/runs/a_b"),
        ("file:///data/runs/a b", "runs/file/data/runs/a_b-a4759f88"),
        ("memory://bucket/.hidden", "runs/memory/bucket/hidden-efe6b096"),
    ],
)
def test_an_address_has_a_mirror_of_its_own_on_this_machine(given: str, mirror: str) -> None:
    assert Address(given).mirror == Path(mirror)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nowhere://bucket/run", "nothing here knows: nowhere://"),
        ("memry://bucket", "did you mean `memory`"),
        ("https://host/run", "can't be written to"),
        ("memory://", "names no folder"),
        ("memory://bucket/../other", "names no folder"),
        ("s3:/bucket/run", "two slashes"),
        ("sftp://me:secret@host/run", "must not hold credentials"),
        ("memory://bucket/run?token=abc", "must not hold credentials"),
    ],
)
def test_what_is_not_a_folder_in_known_storage_is_refused_with_the_reason(
    given: str, why: str
) -> None:
    with pytest.raises(ConfigurationError) as info:
        Settings(directory=given)
    assert why in str(info.value)
    assert info.value.option == "directory"
    assert "secret" not in str(info.value).replace("are secret", "").replace("values", "")
    assert "abc" not in str(info.value)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"trackside\[remote\]' paramiko"):
        Address("sftp://host/run")


def test_users_passwords_and_queries_are_not_shown() -> None:
    text = shown("GET sftp://me:pass@host/a?X-Amz-Signature=1234 failed")
    assert text == "GET sftp://(hidden)@host/a?(hidden) failed"


def test_a_path_is_not_an_address() -> None:
    assert address_in("runs/mine") is None
    assert address_in(Path("s3://bucket")) is None
