"""Diagnosis of a run by what its folder holds: why it ended, and what looks wrong in it.

Each rule looks at one thing and finds it, with the values that show it and what to do about it, or
finds nothing. A rule that can't be sure says what it saw, and leaves the judgement to the reader.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from trackside.callbacks.reporting.report_page.findings import Finding, Severity, remedy_for
from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.callbacks.reporting.report_page.sessions import UNFINISHED
from trackside.callbacks.reporting.report_page.time_rules import TIME_RULES
from trackside.callbacks.reporting.report_page.value_rules import VALUE_RULES
from trackside.outcome import Status

_ORDER: tuple[Severity, ...] = ("ended", "wrong", "slow", "note")


def diagnose(run: ReportedRun) -> list[Finding]:
    """All findings of a run, those that ended it first."""
    found: list[Finding] = []
    for rule in (_unfinished, _ended, *VALUE_RULES, *TIME_RULES, _halved, _checkpoints, _warnings):
        found += rule(run)
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _unfinished(run: ReportedRun) -> Iterator[Finding]:
    """It goes on, or was killed."""
    if run.status != UNFINISHED:
        return
    at = f"its last record is of step {run.step:,}"
    if run.holder is not None:
        yield Finding("goes_on", "note", f"it goes on, in {run.holder}", at)
        return
    whole = [one for one in run.checkpoints if one.problem is None]
    newest = f"; its newest checkpoint is of step {whole[-1].step:,}" if whole else ""
    remedy = _resume(run) if whole else "start it again: it was killed before its first checkpoint"
    yield Finding(
        "killed",
        "ended",
        "it was killed, and had no time to say why: SIGKILL, out of memory, a lost machine",
        at + newest,
        f"{remedy}; `dmesg` or the cluster's log says whether memory ran out",
    )


def _ended(run: ReportedRun) -> Iterator[Finding]:
    """By its own outcome."""
    by = f", asked by {run.asked_by}" if run.asked_by else ""
    at = f"at step {run.step:,}{by}"
    if run.status == Status.FAILED:
        lowered = run.reason.lower()
        at = "; ".join([", ".join([at, *(f"in {place}" for place in run.places[:1])]), *run.notes])
        remedy = "the traceback stands in the log of the process"
        subject = "failed"
        if "out of memory" in lowered or "memoryerror" in lowered:
            subject, remedy = (
                "out_of_memory",
                (
                    "`Settings(halve_batches_to=1)`, a smaller `batch_size` with `accumulate` that "
                    "keeps the step as large, precision='bf16', or FSDP; `OutOfMemory` says what "
                    "took it"
                ),
            )
        elif "no space left on device" in lowered or "disk quota exceeded" in lowered:
            subject, remedy = (
                "disk",
                "free space, or keep fewer checkpoints: `Checkpoint(keep_last=1)`",
            )
        yield Finding(subject, "ended", f"it failed: {run.reason}", at, remedy)
    elif run.status == Status.DIVERGED:
        yield Finding(
            "diverged",
            "ended",
            f"its numbers went wrong: {run.reason}",
            at,
            remedy_for(
                run.reason, "a lower learning rate or a warm-up, `clip`, bf16 in place of fp16"
            )
            + "; `TerminateOnNonFinite('roll_back')` goes back and leaves the batch out",
        )
    elif run.status == Status.INTERRUPTED:
        yield Finding(
            "interrupted",
            "ended",
            f"it was interrupted: {run.reason}",
            at,
            _resume(run),
        )
    elif run.status == Status.STOPPED:
        yield Finding("stopped", "ended", f"it was stopped: {run.reason}", at)


def _resume(run: ReportedRun) -> str:
    """The command that goes on, with what the last session was given: no file keeps it."""
    given = run.sessions[-1].overrides if run.sessions else ()
    return _command("resume", str(run.folder), *given)


def _command(*words: str) -> str:
    return shlex.join(["trackside", *words])


def _checkpoints(run: ReportedRun) -> Iterator[Finding]:
    """Checkpoints that are damaged."""
    damaged = [one for one in run.checkpoints if one.problem is not None]
    if damaged:
        yield Finding(
            "damaged_checkpoint",
            "wrong",
            f"{_names([one.name for one in damaged])} can't be read",
            str(damaged[0].problem),
            f"`{_command('inspect', str(run.folder))}` verifies the others; "
            "a resume passes over it",
        )


def _halved(run: ReportedRun) -> Iterator[Finding]:
    """Batches that went through the model in parts, for want of memory."""
    if run.halvings:
        last = run.halvings[-1]
        yield Finding(
            "halved",
            "note",
            f"memory ran out in step {last.get('step')}: batches went on in parts of at most "
            f"{last.get('samples')} samples",
            str(last.get("reason")),
            "a `batch_size` that fits, with `accumulate`, spares the parts",
        )


def _warnings(run: ReportedRun) -> Iterator[Finding]:
    """Warnings of its sessions, and files that could not be read."""
    for one in run.warnings[:20]:
        yield Finding("warning", "note", _first_line(one.text), f"step {one.step:,}, {one.at}")
    for problem in run.problems:
        yield Finding("unread", "note", problem, str(run.folder))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} others"
