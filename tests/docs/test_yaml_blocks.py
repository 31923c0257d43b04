"""Every YAML block of the pages is checked as a user's file would be.

A block with a `model:` of its own and data is a whole file; others are laid on one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.elsewhere import skip_without_package
from trackside.config import load
from trackside.config.experiment.plan import make_plan

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
FENCE = re.compile(r"^```ya?ml\n(.*?)^```$", re.M | re.S)
WHOLE = {"model", "data", "optimizer", "trainer"}


def yaml_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page.relative_to(REPOSITORY)}-{number}")
        for page in PAGES
        for number, block in enumerate(FENCE.findall(page.read_text()))
    ]


@pytest.mark.parametrize("block", yaml_blocks())
def test_a_yaml_block_is_a_configuration_whose_plan_is_sound(
    block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "examples"), *sys.path])
    Path("block.yaml").write_text(block)
    content = yaml.safe_load(block)
    for callback in content.get("callbacks") or ():
        skip_without_package(callback)
    whole = content.keys() >= WHOLE
    base = [] if whole else [REPOSITORY / "examples" / "digits.yaml"]
    plan = make_plan(load([*base, "block.yaml"]))
    assert plan.sound, plan
