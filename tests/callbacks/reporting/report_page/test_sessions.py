from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.sessions import read_journal


def journal(folder: Path, *lines: dict[str, Any]) -> Path:
    rows = [{"at": f"2026-01-01T00:00:0{i}+00:00", "step": 0} | one for i, one in enumerate(lines)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_killed_session_has_the_phases_that_it_wrote_last(tmp_path: Path) -> None:
    found = read_journal(
        journal(
            tmp_path,
            {"event": "session"},
            {"event": "checkpoint", "name": "step-0000000010", "phases": {"steps": 2.0}},
            {"event": "session"},
        )
    )
    assert found.sessions[0].phases == {"steps": 2.0}
    assert found.sessions[0].ended is None
    assert found.sessions[0].last_heard == "2026-01-01T00:00:01+00:00"


def test_a_deleted_checkpoint_is_told_with_its_step_and_time(tmp_path: Path) -> None:
    event = {"event": "deleted", "name": "step-0000000010", "step": 30}
    (gone,) = read_journal(journal(tmp_path, {"event": "session"}, event)).gone
    assert (gone.name, gone.step) == ("step-0000000010", 10)
    assert gone.deleted_at == "2026-01-01T00:00:01+00:00"


def test_without_a_journal_there_are_no_sessions(tmp_path: Path) -> None:
    assert read_journal(tmp_path).sessions == []
