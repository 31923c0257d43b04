"""Install the package as a user does, beside a torch that is there, and train with it.

`tests.versions` does it for each version: a wheel is built, put into an environment of its own that
has that torch, with the newest packages that `pyproject.toml` lets in, and a new project trains.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.wheels import copy_sources

PIP = ("-m", "pip", "--disable-pip-version-check")

ENTRIES = """
import json, sys
from importlib.metadata import distribution
entries = set()
for name in sys.argv[1:]:
    found = distribution(name)
    tops = {file.parts[0] for file in found.files} - {"..", "__pycache__"}
    entries |= {str(found.locate_file(top)) for top in tops}
print(json.dumps(sorted(entries)))
"""
REQUIREMENTS = """
import json
from importlib.metadata import distributions
print(json.dumps({one.name: one.requires or [] for one in distributions()}))
"""


def wheel(folder: Path) -> Path:
    """The package, built in `folder` from a copy of its sources."""
    sources = folder / "sources"
    copy_sources(sources)
    build = [sys.executable, *PIP, "wheel", "-q", "--no-deps", "-w", str(folder), str(sources)]
    subprocess.run(build, check=True)
    [built] = folder.glob("*.whl")
    return built


def installs(python: Path, torch: str, built: Path, folder: Path) -> bool:
    """Whether the wheel installs beside the torch that `python` has, and a new project trains.

    Args:
        python: Of an environment with that torch, which is left as it is.
        torch: Its version: pip may put no other in its place.
        built: The wheel.
        folder: For the new environment and the project; what was there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder / "environment"], check=True)
    own = folder / "environment" / "bin"
    shared = lend_torch(python, folder / "torch")
    [packages] = folder.glob("environment/lib/python*/site-packages")
    (packages / "torch.pth").write_text(f"{shared}\n")
    (folder / "constraints.txt").write_text(f"torch=={torch}\n")
    install: list[str | Path] = [
        own / "python",
        *PIP,
        "install",
        "-q",
        "-c",
        folder / "constraints.txt",
    ]
    steps: tuple[list[str | Path], ...] = (
        [*install, built],
        [own / "python", *PIP, "check"],
        [own / "trackside", "--version"],
        [own / "trackside", "init", "project"],
        [own / "trackside", "train", "project/train.yaml", "trainer.epochs=1"],
    )
    for step in steps:
        done = subprocess.run(step, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"  {' '.join(map(str, step))} failed:\n{done.stdout}{done.stderr}", flush=True)
            return False
    return True


def lend_torch(python: Path, folder: Path) -> Path:
    """A folder with links to torch and what torch needs, as `python` has them, and nothing else."""
    folder.mkdir(parents=True)
    names = needed("torch", _ask(python, REQUIREMENTS))
    for entry in map(Path, _ask(python, ENTRIES, *names)):
        (folder / entry.name).symlink_to(entry)
    return folder


def needed(name: str, requirements: dict[str, list[str]]) -> list[str]:
    """The packages that one needs, those that these need, and itself.

    Args:
        name: The package.
        requirements: Of each package that is installed, as its metadata says them.
    """
    known = {_plain(one): requires for one, requires in requirements.items()}
    found: set[str] = set()
    waiting = [_plain(name)]
    while waiting:
        one = waiting.pop()
        if one in found or one not in known:
            continue
        found.add(one)
        for requirement in known[one]:
            if "extra ==" not in requirement:
                waiting.append(_plain(re.split(r"[^\w.-]", requirement)[0]))
    return sorted(found)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _ask(python: Path, program: str, *arguments: str) -> Any:
    asked = subprocess.run(
        [python, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(asked.stdout)
