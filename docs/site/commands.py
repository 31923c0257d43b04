"""Write the reference of the command line from the help of its commands.

python -m docs.site.commands            # writes docs/reference/commands.md
"""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from trackside.cli.main import app

PAGE = Path(__file__).resolve().parents[1] / "reference" / "commands.md"
_HEAD = (
    "<!-- Made from the help of the commands by `make reference`; edits are lost. -->\n"
    "# Commands\n\n"
)
_BLOCK = re.compile(r"^(?P<title>\w[^\n]*:)\n(?P<lines>(?:  \S.*\n?)+)", re.M)


def page() -> str:
    """The page, as Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="trackside", resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="trackside")
    # Help keeps its lines in a terminal; on a page these are code.
    text = _BLOCK.sub(_fenced, text.split("\n", 1)[1].replace("\b", ""))
    return _HEAD + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _fenced(found: re.Match[str]) -> str:
    language = "bash" if found["title"].startswith("Example") else "text"
    lines = "\n".join(line.removeprefix("  ") for line in found["lines"].splitlines())
    return f"{found['title']}\n\n```{language}\n{lines}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
