"""Reference pages of the built-in callbacks in Markdown: one each, and an index by purpose."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trackside.config.builtin_callbacks import FOLDER, builtin_callbacks
from trackside.run_folder.inside import replace_inside

if TYPE_CHECKING:
    from trackside.config.reference import Reference

COMMAND = "trackside callbacks --pages docs/reference/callbacks"
NOTE = f"<!-- Made from docstrings by `{COMMAND}`; edits are lost. -->"


def write_pages(folder: Path) -> list[Path]:
    """Write all pages into `folder`, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        written.append(folder / name)
        replace_inside(folder, name, text)
    return written


def pages() -> dict[str, str]:
    """Texts of all pages by name of their file."""
    from trackside.config.checking.kinds import CALLBACKS
    from trackside.config.reference import reference_of

    found = {"README.md": _index()}
    for name in builtin_callbacks():
        target = CALLBACKS.resolve(name)
        assert isinstance(target, type), f"{name} is not a class"
        found[f"{name}.md"] = page(reference_of(name, target))
    return found


def about(purpose: str) -> str:
    """Purpose of the callbacks in one folder: its docstring."""
    file = FOLDER / purpose / "__init__.py"
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def _index() -> str:
    by_purpose: dict[str, list[str]] = {}
    for one in builtin_callbacks().values():
        row = f"| [{one.class_name}]({one.name}.md) | {_cell(one.summary)} |"
        by_purpose.setdefault(one.purpose, []).append(row)
    lines = [
        NOTE,
        "# Callbacks by purpose",
        "",
        f"{len(builtin_callbacks())} callbacks come with Trackside. `from trackside.callbacks "
        "import EarlyStopping` finds each by its name; in a file, its short name is its `kind:`.",
        "The same on the command line: `trackside callbacks`, `trackside callbacks "
        "early_stopping`.",
        "To write one of your own: [Writing a callback](../../writing-callbacks.md).",
    ]
    for purpose, rows in by_purpose.items():
        lines += ["", f"## {purpose}", "", about(purpose), "", "| callback | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def page(reference: Reference) -> str:
    """The page of one callback."""
    one = reference
    parts = [NOTE, f"# {one.class_name}", "", one.summary]
    parts += ["", one.text] if one.text else []
    parts += ["", "## Options", "", *_options(one)]
    parts += ["", "## Example", "", "```python"]
    parts += [f"from trackside.callbacks import {one.class_name}", "", one.python, "```"]
    if one.yaml:
        parts += ["", "In a file:", "", "```yaml", one.yaml, "```"]
    parts += ["", "## In a run", "", "| | |", "|---|---|"]
    parts += [f"| {title} | {text} |" for title, text in facts(one)]
    if one.raises:
        parts += ["", "## Errors", "", *raised(one.raises)]
    if one.sources:
        parts += ["", "## Sources", "", one.sources]
    parts += ["", f"All of [{one.purpose}](README.md#{one.purpose})."]
    return "\n".join(parts) + "\n"


def facts(reference: Reference) -> list[tuple[str, str]]:
    """The callback's role in a run, as pairs of title and text."""
    one = reference
    order = [f"after {_ticked(one.runs_after)}"] if one.runs_after else []
    order += [f"before {_ticked(one.runs_before)}"] if one.runs_before else []
    found = [
        ("kind", f"`{one.name}`"),
        ("class", f"`trackside.callbacks.{one.class_name}`" if one.purpose else f"`{one.kind}`"),
        ("hooks", _ticked(one.hooks) or "none"),
        ("order", "; ".join(order) or "as given"),
        ("effect", EFFECTS[one.effect]),
        ("on_error", _POLICIES[one.on_error].format(failures=one.switch_off_after)),
        ("ranks", "global rank 0 only" if one.rank_zero_only else "all"),
        ("state", "in checkpoints" if one.has_state else "none"),
    ]
    if one.requires:
        found.append(("needs", _ticked(one.requires)))
    if one.monitors:
        found.append(("watches", _ticked(one.monitors)))
    if one.logs:
        found.append(("logs", _ticked(one.logs)))
    return found


_POLICIES = {
    "raise": "`raise`: an error in it ends the run, which is first saved where its state is whole",
    "warn": "`warn`: an error in it is reported and counted, and the run goes on; after {failures} "
    "in a row it is switched off (`switch_off_after`)",
}

EFFECTS = {
    "observes": "`observes`: the weights are the same without it",
    "steers": "`steers`: asks for a stop, a save or an evaluation, or sets options of optimizers",
    "changes": "`changes`: batches, gradients, weights, modes or random numbers",
    None: "it doesn't say",
}
"""The effect of a callback on training, in words."""


def _options(reference: Reference) -> list[str]:
    if not reference.options:
        return ["None."]
    rows = []
    for option in reference.options:
        default = "needed" if option.default is None else f"`{option.default}`"
        cells = (f"`{option.name}`", option.kind, default, option.doc)
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return ["| option | value | default | meaning |", "|---|---|---|---|", *rows]


def raised(section: str) -> list[str]:
    """The section of errors as a list, a line each."""
    found: list[str] = []
    for line in section.splitlines():
        if line[:1].strip():
            error, _, when = line.partition(": ")
            found.append(f"- `{error}`: {when}")
        elif found:
            found[-1] += f" {line.strip()}"
    return found


def _ticked(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
