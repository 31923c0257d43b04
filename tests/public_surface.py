"""What users can type, as text: public names, signatures, hooks, commands.

`.venv/bin/python -m tests.public_surface` writes `tests/public_surface.txt` again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import typer.main

import trackside
import trackside.callbacks
import trackside.config
import trackside.distributed
import trackside.testing
from trackside.cli.main import app
from trackside.lifecycle.hooks import CONTEXTS, HOOKS

FILE = Path(__file__).with_suffix(".txt")
PACKAGES = (
    trackside,
    trackside.callbacks,
    trackside.config,
    trackside.distributed,
    trackside.testing,
)
SIGNATURES = {
    "Trainer": trackside.Trainer,
    "Trainer.fit": trackside.Trainer.fit,
    "Trainer.evaluate": trackside.Trainer.evaluate,
    "Trainer.predict": trackside.Trainer.predict,
    "Settings": trackside.Settings,
    "Scheduler": trackside.Scheduler,
    "Clip": trackside.Clip,
    "Every": trackside.Every,
    **{f"run.{name}": getattr(trackside.Run, name) for name in ("log", "emit", "save", "stop")},
    "run.evaluate": trackside.Run.evaluate,
    "run.skip_step": trackside.Run.skip_step,
    "run.roll_back": trackside.Run.roll_back,
}


def surface() -> Iterator[str]:
    """The lines of the file."""
    for package in PACKAGES:
        yield f"# {package.__name__}"
        yield from sorted(package.__all__)
        yield ""
    yield "# signatures"
    for name, target in SIGNATURES.items():
        yield f"{name}("
        for parameter in inspect.signature(target).parameters.values():
            star = {"KEYWORD_ONLY": "* "}.get(parameter.kind.name, "")
            yield f"    {star}{parameter}"
        yield ")"
    yield ""
    yield "# hooks and contexts of Callback"
    for name in (*HOOKS, *CONTEXTS):
        yield name + str(inspect.signature(getattr(trackside.Callback, name)))
    yield ""
    yield "# commands"
    for name, command in sorted(typer.main.get_command(app).commands.items()):  # type: ignore[attr-defined]
        given = [
            " ".join(p.opts) if p.opts[0].startswith("-") else p.opts[0].upper()
            for p in command.params
        ]
        yield " ".join(["trackside", name, *given])


def text() -> str:
    """The whole file."""
    return "\n".join(surface()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
