"""Write `locks/` again: every package that an installation takes, by version and digest.

    python -m tests.locks              # after a requirement or a pin has changed; `make locks`
    python -m tests.locks --upgrade    # also newer versions of what is pinned nowhere

`uv` resolves for all systems and for each Python that `pyproject.toml` allows, with the versions of
`constraints.txt`. torch is left out, with the packages of its CUDA builds: it has several builds
of one version, and a machine takes its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "locks"
# By file, the extras that it has beside the dependencies of the package.
EXTRAS: dict[str, tuple[str, ...]] = {
    "development.txt": ("test", "docs", "browser"),
    "trackside.txt": (),
}
# torch, and what only some of its builds bring.
OF_A_BUILD = re.compile(r"(torch|triton)$|(nvidia|cuda)-")
HEAD = """\
# Written by `make locks`. torch is not here: SECURITY.md says how to install with this file.
"""


def without_builds(text: str) -> str:
    """A lock without torch and the packages of its builds.

    Args:
        text: A requirement per paragraph: its first line is `name==version`; its digests and the
            packages that need it are indented.
    """
    kept = []
    for paragraph in re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.M):
        name = re.match(r"[\w.-]*", paragraph)
        if name is None or not OF_A_BUILD.match(name.group()):
            kept.append(paragraph)
    return "".join(kept)


def write(name: str, options: Sequence[str]) -> None:
    """Resolve and write one file of `locks/`.

    Args:
        name: Of the file, a key of `EXTRAS`.
        options: More options of `uv pip compile`.
    """
    path = LOCKS / name
    others = [LOCKS / other for other in EXTRAS if other != name and name == "trackside.txt"]
    limits = [REPOSITORY / "constraints.txt", *others]  # one version in both files
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes"]
    command += ["--quiet", "--no-header", "--annotation-style", "line", "--output-file", str(path)]
    command += [part for extra in EXTRAS[name] for part in ("--extra", extra)]
    command += [part for limit in limits for part in ("-c", str(limit.relative_to(REPOSITORY)))]
    subprocess.run([*command, *options], cwd=REPOSITORY, check=True)
    path.write_text(HEAD + without_builds(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    LOCKS.mkdir(exist_ok=True)
    for file in EXTRAS:
        write(file, sys.argv[1:])
