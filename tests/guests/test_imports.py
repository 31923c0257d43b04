"""A guest imports no trainer, and a run without guests imports none of it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import trackside
from trackside import attach
ours = ("trackside.guests", "trackside.resume")
assert not [name for name in sys.modules if name.startswith(ours)]
from trackside.guests import Guest
from trackside.resume import Custody, KeptLoader, keep
trainers = ["lightning", "pytorch_lightning", "transformers", "keras", "ignite"]
trainers += ["trackside.trainer"]
assert not [name for name in sys.modules if name.split(".")[0] in trainers or name in trainers]
"""


def test_neither_a_guest_nor_what_keeps_a_run_imports_a_trainer() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
