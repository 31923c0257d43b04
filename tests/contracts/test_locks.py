"""`locks/` holds what `pyproject.toml` requires, whole, by version and digest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locks import EXTRAS, LOCKS, OF_A_BUILD, REPOSITORY, without_builds

ENVIRONMENTS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    for python in ("3.11", "3.12", "3.13")
    for system in ("linux", "darwin")
]


@dataclass(frozen=True)
class Locked:
    """A version of a package, where it holds, and the digests of its files."""

    requirement: Requirement
    digests: tuple[str, ...]

    @property
    def version(self) -> str:
        [pin] = self.requirement.specifier
        assert pin.operator == "=="
        return pin.version


def applies(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({**environment, "extra": extra})


def read(name: str) -> dict[str, list[Locked]]:
    """The packages of a lock, with each version that it has of them."""
    found: dict[str, list[Locked]] = {}
    text = (LOCKS / name).read_text(encoding="utf-8")
    for paragraph in re.findall(r"^[\w].*\n(?:[ \t].*\n)*", text, re.M):
        requirement = Requirement(paragraph.splitlines()[0].rstrip("\\ "))
        digests = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", paragraph))
        found.setdefault(canonicalize_name(requirement.name), []).append(
            Locked(requirement, digests)
        )
    return found


def required(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """The dependencies of the package, and those of extras, through the extras that these name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    lines += [line for extra in extras for line in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, lines):
        if requirement.name == "trackside":
            yield from required(tuple(requirement.extras))
        else:
            yield requirement


def missing(
    requirements: Iterator[Requirement], lock: dict[str, list[Locked]], environment: dict[str, str]
) -> set[str]:
    """The requirements that the one version in the lock does not satisfy, torch's builds aside."""
    return {
        str(requirement)
        for requirement in requirements
        if applies(requirement, environment) and not OF_A_BUILD.match(requirement.name)
        if [
            requirement.specifier.contains(locked.version, prereleases=True)
            for locked in lock.get(canonicalize_name(requirement.name), [])
            if applies(locked.requirement, environment)
        ]
        != [True]
    }


@pytest.mark.parametrize("name", EXTRAS)
def test_each_requirement_is_locked_to_one_version_that_satisfies_it(name: str) -> None:
    lock = read(name)
    for environment in ENVIRONMENTS:
        assert missing(required(EXTRAS[name]), lock, environment) == set(), environment


@pytest.mark.parametrize("name", EXTRAS)
def test_what_locked_packages_require_is_locked(name: str) -> None:
    """Of those that are installed here in the same version: their metadata says it."""
    lock = read(name)
    here = {key: str(value) for key, value in default_environment().items()}
    known = 0
    for installed in distributions():
        versions = [one.version for one in lock.get(canonicalize_name(installed.name), [])]
        if installed.version in versions:
            known += 1
            requires = map(Requirement, installed.requires or ())
            assert missing(requires, lock, here) == set(), installed.name
    assert known > len(lock) / 2


@pytest.mark.parametrize("name", EXTRAS)
def test_each_version_has_digests_and_none_is_of_a_build_of_torch(name: str) -> None:
    lock = read(name)
    assert [name for name, found in lock.items() if not all(one.digests for one in found)] == []
    assert list(filter(OF_A_BUILD.match, lock)) == []


def test_pins_of_the_constraints_hold_in_the_lock() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if re.match(r"\w", line)]
    lock = read("development.txt")
    differing = [
        str(pin)
        for pin in pins
        for locked in lock.get(canonicalize_name(pin.name), [])
        if not pin.specifier.contains(locked.version)
    ]
    assert differing == []


def test_both_locks_have_the_same_versions_and_digests() -> None:
    development = read("development.txt")
    assert {name: development.get(name) for name in read("trackside.txt")} == read("trackside.txt")


def test_torch_and_the_packages_of_its_builds_are_left_out() -> None:
    whole = (
        "# a comment\n"
        "nvidia-cublas==13.1 ; sys_platform == 'linux' \\\n    --hash=sha256:01\n"
        "torch==2.13.0 \\\n    --hash=sha256:02\n    # via trackside\n"
        "torchmetrics==1.9.0 \\\n    --hash=sha256:03\n    # via trackside\n"
        "triton==3.7.1 \\\n    --hash=sha256:04\n"
    )
    assert without_builds(whole) == (
        "# a comment\ntorchmetrics==1.9.0 \\\n    --hash=sha256:03\n    # via trackside\n"
    )
