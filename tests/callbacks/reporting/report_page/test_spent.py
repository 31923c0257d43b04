from __future__ import annotations

from pathlib import Path

from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.callbacks.reporting.report_page.sessions import Session
from trackside.callbacks.reporting.report_page.spent import spent


def test_time_between_sessions_is_a_phase_of_its_own() -> None:
    first = Session("2026-01-01T00:00:00", 0, last_heard="2026-01-01T00:00:10")
    second = Session("2026-01-01T00:00:40", 5, phases={"steps": 60.0, "set-up": 10.0})
    rows = spent(ReportedRun("mine", Path("mine"), sessions=[first, second]))
    assert [(row["name"], row["share"]) for row in rows] == [
        ("set-up", "10 %"),
        ("steps", "60 %"),
        ("between sessions", "30 %"),
    ]


def test_a_run_without_phases_has_no_table() -> None:
    assert spent(ReportedRun("mine", Path("mine"))) == []


def test_times_with_and_without_a_zone_have_a_gap() -> None:
    first = Session("2026-01-01T00:00:00", 0, last_heard="2026-01-01T00:00:10")
    second = Session("2026-01-01T00:00:20+00:00", 5, phases={"steps": 10.0, "set-up": -5.0})
    rows = spent(ReportedRun("mine", Path("mine"), sessions=[first, second]))
    assert [(row["name"], row["share"]) for row in rows] == [
        ("steps", "50 %"),
        ("between sessions", "50 %"),
    ]
