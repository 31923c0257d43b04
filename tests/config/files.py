"""Writing configuration files in tests."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
seed: 1
model: {kind: tests.config.parts.Net}
data:
  batch_size: 4
  train: {kind: tests.config.parts.points}
  val: {kind: tests.config.parts.points, seed: 2}
loss: cross_entropy
optimizer: {kind: sgd, lr: 0.1}
trainer:
  epochs: 1
  directory: run
  defaults: false
"""


def write(text: str, name: str = "run.yaml") -> str:
    """Write a file into the test's own folder; its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def good(*changes: tuple[str, str], more: str = "") -> str:
    """`GOOD` with some text replaced and some added at its end."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the good file"
        text = text.replace(old, new)
    return text + more
