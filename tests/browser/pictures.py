"""Pictures of the README, of a real run: `python -m tests.browser.pictures` makes them again.

The terminal is an SVG of what `trackside train examples/digits.yaml` prints in one; the report is a
picture of its page in Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

from tests.browser.chromium import Page, chromium

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES = REPOSITORY / "docs" / "images"
COLUMNS, ROWS = 100, 40
WIDTH, HEIGHT = 1200, 1250


def main() -> None:
    """Train, and write both pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / "examples", Path(folder) / "examples")
        train = "-m trackside train examples/digits.yaml trainer.directory=runs/digits"
        output = pexpect.run(
            f"{sys.executable} {train}",
            cwd=folder,
            env={**os.environ, "TERM": "xterm-256color"},
            timeout=600,
            dimensions=(ROWS, COLUMNS),
        )
        draw_terminal("$ trackside train examples/digits.yaml\n" + last_screen(output.decode()))
        subprocess.run(
            [sys.executable, "-m", "trackside", "report", "runs/digits"], cwd=folder, check=True
        )
        with chromium() as driver:
            driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            page = Page.opened(driver, Path(folder) / "runs/digits/report.html")
            page.resize(WIDTH, "light", HEIGHT)
            page.wait_until("return document.querySelectorAll('figure canvas').length > 2")
            driver.save_screenshot(str(IMAGES / "report.png"))


def last_screen(output: str) -> str:
    """The lines as they stand at the end: what a live bar has drawn over is gone."""
    lines: list[str] = []
    for line in output.replace("\r\n", "\n").split("\n"):
        kept = line.split("\r")[-1]
        if kept.replace("\x1b[2K", "").replace("\x1b[?25h", "").replace("\x1b[?25l", "").strip():
            lines.append(kept)
    return "\n".join(lines)


def draw_terminal(text: str) -> None:
    """An SVG of a terminal."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text.from_ansi(text))
    drawn = console.export_svg(title="trackside")
    # The fonts of the reader's machine: a picture asks nothing of a network.
    (IMAGES / "terminal.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S))


if __name__ == "__main__":
    main()
