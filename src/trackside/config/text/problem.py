"""Problems of a configuration: collected, and reported all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trackside.config.text.place import Path, Place, dotted
from trackside.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem; its fields are in the order in which a person needs them."""

    message: str
    """The problem, in one sentence without a full stop."""
    place: Place | None = None
    path: Path = ()
    """The key it is about, from the top of the file."""
    expected: str | None = None
    received: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        where = [str(self.place)] if self.place else []
        if self.path:
            where.append(dotted(self.path))
        lines = [": ".join([*where, self.message])]
        if self.place is not None and self.place.excerpt:
            lines += self.place.picture()
        for label, text in (
            ("expected", self.expected),
            ("received", self.received),
            ("to fix", self.remedy),
        ):
            if text is not None:
                first, *rest = text.splitlines() or [""]
                lines.append(f"    {label + ':':<10}{first}")
                lines += [" " * 14 + line for line in rest]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same for tools: plain values, None where there is nothing to say."""
        place = self.place
        return {
            "message": self.message,
            "source": place.source if place else None,
            "line": (place.line or None) if place else None,
            "column": place.column if place else None,
            "path": dotted(self.path) or None,
            "expected": self.expected,
            "received": self.received,
            "remedy": self.remedy,
        }


class ExperimentError(ConfigurationError):
    """A configuration can't be used; `problems` has every reason that was found.

    Args:
        problems: What is wrong, in the order of the files.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        total = "1 problem" if count == 1 else f"{count} problems"
        text = "\n\n".join(map(str, self.problems))
        super().__init__(f"{text}\n\n{total} in the configuration; nothing was started.")


class Findings:
    """Collects problems, so that one attempt reports all of them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown: set[Path] = set()
        """Where a value could not be found out; what encloses it is not judged by it."""
        self.causes: list[Exception] = []
        """Errors of constructors behind the problems, with their tracebacks."""

    def add(
        self,
        message: str,
        place: Place | None = None,
        path: Path = (),
        *,
        expected: str | None = None,
        received: str | None = None,
        remedy: str | None = None,
    ) -> None:
        """Note one problem."""
        problem = Problem(message, place, path, expected, received, remedy)
        if problem not in self.problems:
            self.problems.append(problem)

    def __bool__(self) -> bool:
        return bool(self.problems)

    def stop_if_any(self) -> None:
        """Raise `ExperimentError` with all that was found, if there is anything."""
        if self.problems:
            several = len(self.causes) > 1
            cause = ExceptionGroup("constructors refused", self.causes) if several else None
            raise ExperimentError(self.problems) from cause or next(iter(self.causes), None)
