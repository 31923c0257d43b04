"""How many lines a loop by hand needs for the engine, counted in the page that shows it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "by-hand.md"
LOOP = (
    "for epoch in",
    "for inputs, target in",
    "loss = loss_of(",
    "loss.backward()",
    "optimizer.step()",
    "optimizer.zero_grad()",
    "for inputs, target in",
    "evaluation.batch_done(loss_of(",
)
"""Lines that the loop has without the engine, some in other words."""


def test_a_loop_is_attached_to_in_ten_lines() -> None:
    block = re.search(r"with trackside\.attach\(\n.*?\n\n", PAGE.read_text(), re.S)
    assert block is not None
    lines = [line.strip() for line in block[0].strip().splitlines()]

    for own in LOOP:
        lines.remove(next(line for line in lines if line.startswith(own)))

    assert len(lines) <= 10, lines
