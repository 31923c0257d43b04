"""Find the Python of another version on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def interpreter(version: str) -> str:
    """A Python of this version that makes environments, on the PATH or of pyenv.

    Args:
        version: Such as `3.12`.

    Raises:
        SystemExit: There is none.
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}")]
    found += sorted(map(str, root.glob(f"versions/{version}.*/bin/python")), reverse=True)
    for candidate in found:
        if candidate is not None and _works(candidate, version):
            return candidate
    raise SystemExit(
        f"error: found no python{version} that makes environments, on the PATH or in {root}"
    )


def _works(candidate: str, version: str) -> bool:
    """Whether it is what it is called: the stub of a version manager may have nothing behind it."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version
