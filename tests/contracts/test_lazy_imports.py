"""What `import trackside` and its engine load, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trackside

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
ENGINE = next(c for c in CONTRACTS["contracts"] if c["id"] == "torch-free")["source_modules"]

LOADED_LATE = [
    "matplotlib",
    "mlflow",
    "omegaconf",
    "pandas",
    "pydantic",
    "rich",
    "tensorboard",
    "torch.distributed.checkpoint",
    "torchmetrics",
    "typer",
    "wandb",
    "yaml",
]


def run_python(program: str) -> str:
    """The output of `program` in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", trackside.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(trackside, name) is not None


def test_dir_lists_the_public_names() -> None:
    assert set(trackside.__all__) <= set(dir(trackside))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        trackside.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_trackside_loads_nothing_that_a_run_may_not_need() -> None:
    loaded = run_python("import sys, trackside; print(*sys.modules)").split()

    assert set(LOADED_LATE) & set(loaded) == set()


def test_the_trainer_loads_no_front_end() -> None:
    loaded = run_python("import sys; from trackside import Trainer; print(*sys.modules)").split()

    assert {"typer", "omegaconf", "pydantic", "matplotlib"} & set(loaded) == set()


def test_the_engine_runs_where_torch_is_missing() -> None:
    run_python(
        "import importlib, sys\n"
        "sys.modules.update(torch=None, numpy=None, safetensors=None, rich=None)\n"
        f"for module in {ENGINE}: importlib.import_module(module)"
    )
