"""Files that are written again are replaced: nobody reads half of one, and no link is followed."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "trackside"
IN_PLACE = {
    "callbacks/evaluation/prediction_files.py": "adds members to an archive in an open stream",
    "callbacks/reporting/mlflow.py": "writes a new file in a temporary folder of its own",
    "callbacks/saving/export_model.py": "writes to a temporary name, which is then renamed",
    "callbacks/scheduling/host_peak.py": "tells the kernel, by a file of it, to forget a peak",
    "remote/store.py": "writes an object under a name that no ledger names yet",
    "testing/rules.py": "writes a new file in a temporary folder of its own",
    "tracking/media.py": "makes a file in memory",
}
"""Modules that open a file for writing from its beginning, and why they may."""


def writes_in_place(tree: ast.AST) -> bool:
    """Whether some call writes a file from its beginning, under the name that it will have."""
    return any(isinstance(node, ast.Call) and _is_writing(node) for node in ast.walk(tree))


def _is_writing(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("write_text", "write_bytes"):
        return True
    values = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    modes = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return name == "open" and any(mode.strip("bt+") == "w" for mode in modes)


def test_only_those_with_a_reason_write_in_place() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if writes_in_place(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(IN_PLACE)


def test_each_way_of_writing_in_place_is_found() -> None:
    for line in ("p.write_text(t)", "p.write_bytes(b)", "p.open('wb')", "open(p, mode='w')"):
        assert writes_in_place(ast.parse(line)), line
    for line in ("open(p)", "p.open('rb')", "open(p, 'a')", "os.open(p, flags)"):
        assert not writes_in_place(ast.parse(line)), line
