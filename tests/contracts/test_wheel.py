"""The wheel is the package as the repository has it, to the last byte."""

from __future__ import annotations

import os
import zipfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from tests.wheels import REPOSITORY, build, files

pytestmark = pytest.mark.skipif(
    Version(version("setuptools")) < Version("77"), reason="needs the extra `test`"
)

LICENCES = {"LICENSE", "src/trackside/callbacks/reporting/report_page/assets/uplot/LICENSE"}
DESCRIBED = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("first"))


def test_built_again_by_another_person_it_has_the_same_bytes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    mask = os.umask(0o077)
    try:
        again = build(tmp_path)
    finally:
        os.umask(mask)
    digests = [sha256(wheel.read_bytes()).hexdigest() for wheel in (built, again)]
    assert digests[0] == digests[1]


def test_it_holds_the_package_and_licences_and_nothing_more(built: Path) -> None:
    with zipfile.ZipFile(built) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist()}
    information = f"{'-'.join(built.name.split('-')[:2])}.dist-info/"

    expected = {
        name.removeprefix("src/"): (REPOSITORY / name).read_bytes()
        for name in files()
        if name.startswith("src/")
    }
    expected |= {
        f"{information}licenses/{name}": (REPOSITORY / name).read_bytes() for name in LICENCES
    }
    described = {information + name for name in DESCRIBED}
    assert {name: held[name] for name in held.keys() - described} == expected
    assert described <= held.keys()
