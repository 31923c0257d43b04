"""The same through s3fs and a server that speaks S3, on this machine; `make dialects` runs it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.remote.runs import train, unbroken
from trackside.remote import copies, patience
from trackside.remote.address import Address
from trackside.remote.claim import CLAIM
from trackside.remote.store import Store

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

KEY, SECRET = "testing-key", "testing-secret-of-the-server"
ADDRESS = "s3://bucket/deep/run"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"http://{host}:{port}"
    serving.stop()


@pytest.fixture(autouse=True)
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket, and the keys where they belong: in the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": server,
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    client = boto3.resource("s3", endpoint_url=server)
    found = client.create_bucket(Bucket="bucket")
    yield found
    found.objects.all().delete()
    found.delete()


def test_a_run_goes_on_bitwise_elsewhere(bucket: Any, tmp_path: Path) -> None:
    train(tmp_path / "here", 2, address=ADDRESS)
    assert train(tmp_path / "there", 3, "auto", address=ADDRESS) == unbroken(tmp_path, 3)
    names = {one.key for one in bucket.objects.all()}
    assert {"deep/run/trackside.0.json", "deep/run/trackside.1.json"} <= names
    assert "deep/run/claim.json" not in names


def test_two_at_the_same_moment_do_not_both_get_the_claim(bucket: Any) -> None:
    first, second = Store(Address(ADDRESS)), Store(Address(ADDRESS))
    first.create(CLAIM, b"first")
    with pytest.raises(FileExistsError):
        second.create(CLAIM, b"second")
    assert bucket.Object("deep/run/claim.json").get()["Body"].read() == b"first"


def test_no_key_is_in_a_file_here_or_there(bucket: Any, tmp_path: Path) -> None:
    train(tmp_path / "here", 1, address=ADDRESS)
    there = [one.get()["Body"].read() for one in bucket.objects.all()]
    here = [path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert len(there) > 5 < len(here)
    assert not [one for one in (*there, *here) if SECRET.encode() in one]


def test_a_bucket_that_is_not_there_is_met_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackside.remote import joining

    monkeypatch.setattr(joining, "START_SECONDS", 0.5)
    with pytest.raises(joining.RemoteUnreachableError):
        train(tmp_path / "here", 1, address="s3://nobody-made-this/run")


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_the_server_cost_no_training_and_lose_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 0.1)
    import botocore.endpoint  # noqa: F401
    import s3fs

    dice, calls = random.Random(seed), [0]
    original = s3fs.S3FileSystem._call_s3

    async def failing(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if dice.random() < 0.2:
            raise OSError(f"503 Slow Down ({method})")
        return await original(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", failing)
    assert train(tmp_path / "here", 2, address=ADDRESS) == unbroken(tmp_path, 2)
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", original)
    assert calls[0] > 50
    assert copies.download(Address(ADDRESS), tmp_path / "copy", "all") == 2
    assert train(tmp_path / "there", 3, "auto", address=ADDRESS) == unbroken(tmp_path / "3", 3)


def test_the_environment_is_the_one_that_is_meant() -> None:
    assert os.environ["AWS_ENDPOINT_URL_S3"].startswith("http://127.0.0.1:")
