"""Write the reference of Python: every public name on the page of the part where it is defined.

    python -m docs.site.python              # writes docs/reference/python

The pages hold directives; the site puts docstrings and signatures in their place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import trackside
import trackside.testing

FOLDER = Path(__file__).resolve().parents[1] / "reference" / "python"
_HEAD = "<!-- Made from the public names by `make reference`; edits are lost. -->\n"


@dataclass(frozen=True)
class Page:
    """A page, and the parts of `trackside` whose public names are on it."""

    title: str
    text: str
    parts: tuple[str, ...]


WRITING = "[Writing a callback](../../writing-callbacks.md) shows them in use."
PAGES = {
    "trainer": Page(
        "Trainer, settings, results",
        "What trains, what it is given, and what it gives back.",
        (
            "trainer",
            "config",
            "outcome",
            "by_hand",
            "step.output",
            "step.optimization",
            "step.accuracy",
        ),
    ),
    "run": Page(
        "The run, and what it holds",
        "What a callback sees: where training stands, what was recorded, what may be asked for.",
        ("run", "history", "records", "progress", "requests", "checkpoint"),
    ),
    "schedules": Page("Schedules", "When something is due.", ("schedule",)),
    "extending": Page(
        "Callbacks and trackers of your own",
        f"The bases of what you write. {WRITING}",
        ("lifecycle", "tracking", "step.evaluation", "vocabulary", "secret"),
    ),
    "distributed": Page(
        "Ranks",
        "Several processes, and how models and data are spread over them: [Ranks](../../ranks.md).",
        ("distributed", "data"),
    ),
    "proof": Page("Proof", "What a run can show of itself: [Proof](../../proof.md).", ("proof",)),
    "errors": Page(
        "Errors",
        "Each says what was expected, what came, and what to do. With which exit code a run ends: "
        "[the table of endings](../../clusters.md#how-a-run-ends).",
        ("errors",),
    ),
    "testing": Page(
        "For tests of callbacks", f"{trackside.testing.__doc__}".split("\n")[0] + f" {WRITING}", ()
    ),
}
_ELSEWHERE = {"Schedule": "schedules", "Secret": "extending"}
"""Aliases, which don't know where they are defined."""


def pages() -> dict[str, str]:
    """Every page, by its name, as Markdown."""
    names = [name for name in trackside.__all__ if not name.startswith("__")]
    found = {key: [n for n in names if _page_of(n) == key] for key in PAGES}
    made = {key: _page(PAGES[key], trackside, found[key]) for key in PAGES if key != "testing"}
    testing = _page(PAGES["testing"], trackside.testing, trackside.testing.__all__)
    return {f"{key}.md": text for key, text in (made | {"testing": testing}).items()}


def _page_of(name: str) -> str:
    defined = getattr(trackside, name)
    if isinstance(defined, type) and issubclass(defined, Exception):
        return "errors"
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    part = defined.__module__.removeprefix("trackside.")
    for key, page in PAGES.items():
        if any(part == each or part.startswith(f"{each}.") for each in page.parts):
            return key
    raise LookupError(f"{name} is defined in {part}: say in `PAGES` on which page that belongs")


def _page(page: Page, module: ModuleType, names: Iterable[str]) -> str:
    parts = [f"{_HEAD}# {page.title}", page.text]
    for name in sorted(names, key=str.lower):
        parts.append(f"## {name}\n\n{_content(module, name)}")
    return "\n\n".join(parts) + "\n"


def _content(module: ModuleType, name: str) -> str:
    defined = getattr(module, name)
    if isinstance(defined, Mapping):
        return f"By name: {', '.join(f'`{key}`' for key in defined)}."
    if inspect.isclass(defined):
        directive = "autoexception" if issubclass(defined, Exception) else "autoclass"
    else:
        directive = "autofunction" if callable(defined) else "autodata"
    return f"```{{eval-rst}}\n.. {directive}:: {module.__name__}.{name}\n```"


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
