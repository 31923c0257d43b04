from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from trackside import Callback
from trackside.callbacks.scheduling.warmup_stable_decay import WarmupStableDecayLR
from trackside.config.builtin_callbacks import FOLDER, builtin_callbacks
from trackside.config.checking import kinds
from trackside.config.checking.kinds import (
    CALLBACKS,
    LOSSES,
    METRICS,
    MODELS,
    OPTIMIZERS,
    SCHEDULERS,
    Family,
    KindError,
)


@pytest.mark.parametrize(
    ("family", "kind", "found"),
    [
        (OPTIMIZERS, "adamw", torch.optim.AdamW),
        (OPTIMIZERS, "AdamW", torch.optim.AdamW),
        (OPTIMIZERS, "adam_w", torch.optim.AdamW),
        (OPTIMIZERS, "torch.optim.AdamW", torch.optim.AdamW),
        (LOSSES, "cross_entropy", torch.nn.CrossEntropyLoss),
        (LOSSES, "CrossEntropyLoss", torch.nn.CrossEntropyLoss),
        (LOSSES, "mse", torch.nn.MSELoss),
        (LOSSES, "torch.nn.functional.mse_loss", torch.nn.functional.mse_loss),
        (SCHEDULERS, "cosine_annealing", torch.optim.lr_scheduler.CosineAnnealingLR),
        (SCHEDULERS, "one_cycle_lr", torch.optim.lr_scheduler.OneCycleLR),
        (SCHEDULERS, "reduce_lr_on_plateau", torch.optim.lr_scheduler.ReduceLROnPlateau),
        (SCHEDULERS, "warmup_stable_decay", WarmupStableDecayLR),
        (MODELS, "ReLU", torch.nn.ReLU),
        (MODELS, "relu", torch.nn.ReLU),
    ],
)
def test_a_kind_is_a_short_name_in_any_spelling_or_a_full_one(
    family: Family, kind: str, found: object
) -> None:
    assert family.resolve(kind) is found


def test_a_metric_of_our_own_is_found_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    assert METRICS.resolve("accuracy").__name__ == "accuracy"


def test_metrics_of_torchmetrics_have_short_names() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    assert METRICS.resolve("MulticlassAccuracy") is torchmetrics.classification.MulticlassAccuracy


def test_every_built_in_callback_is_found_by_its_file() -> None:
    for name, one in builtin_callbacks().items():
        target = CALLBACKS.resolve(name)
        assert target.__module__ == f"trackside.callbacks.{one.purpose}.{name}"
        assert one.summary


def test_listing_callbacks_imports_none_of_them() -> None:
    code = (
        "import sys; from trackside.config.builtin_callbacks import builtin_callbacks; "
        "print([b.summary for b in builtin_callbacks().values()]); "
        "assert 'torch' not in sys.modules; "
        "assert not any(m.startswith('trackside.callbacks') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_file_whose_class_has_another_name_is_no_callback(tmp_path: Path) -> None:
    folder = tmp_path / "stopping"
    folder.mkdir()
    (folder / "early_stopping.py").write_text(
        'class EarlyStopping(Callback[Run]):\n    """Stops."""\n'
    )
    (folder / "patience.py").write_text("class Waiting(Callback): ...\nclass Patience: ...\n")
    found = builtin_callbacks(tmp_path)
    assert list(found) == ["early_stopping"]
    assert found["early_stopping"].summary == "Stops."


def test_a_package_adds_a_short_name_and_can_not_take_one_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = next(iter(builtin_callbacks()))
    points = [
        EntryPoint("sparse", "tests.config.parts:Sparse", kinds.ENTRY_POINTS),
        EntryPoint(ours, "tests.config.parts:Sparse", kinds.ENTRY_POINTS),
    ]
    monkeypatch.setattr(kinds, "entry_points", lambda group: points)
    assert CALLBACKS.resolve("sparse").__name__ == "Sparse"
    assert CALLBACKS.resolve(ours).__module__.startswith("trackside.callbacks.")


def test_the_entry_point_of_a_callback_is_not_loaded_before_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "tests.config.failing", raising=False)
    point = EntryPoint("failing", "tests.config.failing:X", kinds.ENTRY_POINTS)
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point])
    assert "failing" in CALLBACKS.names()
    with pytest.raises(KindError, match="failed: RuntimeError: no licence"):
        CALLBACKS.resolve("failing")


def test_a_missing_package_inside_a_module_is_not_called_a_missing_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KindError, match="importing `needy` failed: No module named 'no_such"):
        MODELS.resolve("needy.Net")


def test_a_script_that_ends_python_when_imported_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quitter.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KindError, match="SystemExit: 3"):
        MODELS.resolve("quitter.Net")


def test_no_callback_of_ours_is_passed_over() -> None:
    for file in FOLDER.glob("*/*.py"):
        module = importlib.import_module(f"trackside.callbacks.{file.parent.name}.{file.stem}")
        here = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Callback)
            and value.__module__ == module.__name__
            and kinds.bare(value.__name__) == kinds.bare(file.stem)
        ]
        assert bool(here) == (file.stem in builtin_callbacks()), file


def test_the_folder_of_the_built_in_callbacks_is_there() -> None:
    assert FOLDER.is_dir()
