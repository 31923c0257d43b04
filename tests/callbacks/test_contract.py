"""Every callback that comes with Trackside keeps the contract of callbacks."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import pytest
from safetensors.torch import save_file

from tests.callbacks.pictures.scenes import tiny_pictures
from tests.elsewhere import skip_without_package
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import check_callback, tiny_classification

ALL = builtin_callbacks()

# What `check_callback` is told of those that need options, or that change training on purpose.
EXPECTED_NOTES: dict[str, dict[str, Any]] = {
    "accumulation_schedule": {"options": {"batches": {0: 1, 1: 2}}, "observer": False},
    "activation_statistics": {"options": {"every": "2 steps"}},
    "attention_maps": {"task": tiny_pictures},
    "auto_save": {"beside": lambda: [Checkpoint("1 step", keep_last=None)]},
    "batch_limit": {"options": {"train": 2}, "observer": False},
    "batch_size_finder": {"options": {"largest": 4, "stop": False}},
    "best_metric": {"options": {"source": "val/loss", "targets": ["val/accuracy"]}},
    "checkpoint": {"options": {"every": "1 step", "keep_last": None}},
    "clip_gradients": {"options": {"norm": 0.1}, "observer": False},
    "cut_mix": {"options": {"classes": 3}, "task": tiny_pictures, "observer": False},
    "device_stats": {"measured": ["device/*"]},
    "energy": {"measured": ["energy/*"]},
    "evaluate": {
        "options": {"data": "val", "every": "2 steps", "record_as": "own", "batch_size": 3}
    },
    "export_model": {"options": {"try_first": False, "check": False}},  # tracing takes long
    "feature_maps": {"task": tiny_pictures},
    "generate": {
        "options": {
            "prompts": ["a"],
            "every": "2 steps",
            "function": lambda run, prompt, generator: prompt,
        },
        "skip": {"configuration": "a function is no value in a file"},
    },
    "gradient_noise": {"trainer": {"accumulate": 2}},
    "loss_spikes": {"skip": {"waits": "it decides before each update"}},
    "lr_finder": {"options": {"steps": 3, "plot": False}},
    "lr_scheduler": {
        "options": {"scheduler": "StepLR", "options": {"step_size": 1}},
        "observer": False,
    },
    "mix_up": {"options": {"classes": 3}, "observer": False},
    "move_modules": {"options": {"modules": {"model.0": "cpu"}}},
    "notify": {"options": {"command": ["true"]}},
    "offline_loss": {"options": {"data": "val"}},  # that of training: on one rank only
    "overfit_guard": {"options": {"max_gap": 100.0}},
    "parameter_schedule": {
        "options": {"parameter": "optimizer.lr", "shape": "linear", "start": 0.1, "end": 0.01},
        "observer": False,
    },
    "peak_memory": {"measured": ["memory/*"]},
    "prediction_images": {"task": tiny_pictures},
    "sample_images": {"options": {"latent": [4], "shape": [1, 3]}},
    "stable_decay_checkpoints": {
        "options": {"decay_start": "3 steps", "decay_end": "5 steps"},
        "beside": lambda: [Checkpoint("1 step", keep_last=None)],
    },
    "stop_at": {"options": {"step": 5}, "observer": False},
    "swa": {"options": {"start": "1 epoch"}, "observer": False},
    "sync_batch_norm": {"observer": False},
    "terminate_on_non_finite": {"skip": {"waits": "on a CPU it looks at once; see `chosen_way`"}},
    "upload": {
        "options": {"to": "memory://contract/run"},
        "skip": {"failing_disk": "files of the run that lie there are brought before it begins"},
    },
    "unfreeze": {"options": {"groups": {"0": "1 epoch"}}, "observer": False},
    "wandb": {"options": {"project": "contract", "mode": "offline"}},
}


class Twin(Callback):
    """Adds a second model, like the one of the task."""

    def on_configure_end(self, run: Run) -> None:
        run.models = {**run.models, "twin": copy.deepcopy(run.model)}


EXPECTED_NOTES["transfer_weights"] = {
    "options": {"source": "twin", "target": "model"},
    "beside": lambda: [Twin()],
    "observer": False,
}


def class_of(name: str) -> type[Callback[Any]]:
    module, _, class_name = ALL[name].reference.rpartition(".")
    found: type[Callback[Any]] = getattr(import_module(module), class_name)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file with the weights of the task's model."""
    file = tmp_path / "weights.safetensors"
    save_file(tiny_classification().model.state_dict(), file)
    return file


def told(name: str, weights: Path) -> dict[str, Any]:
    """What `check_callback` is told of a callback."""
    skip_without_package(name)
    if name == "load_weights":
        return {"options": {"source": str(weights)}, "observer": False}
    if name == "optuna_pruning":
        options = {"trial": optuna.create_study().ask()}
        aside = {"configuration": "a trial is an object of a study, not a value in a file"}
        return {"options": options, "observer": False, "skip": aside}
    return EXPECTED_NOTES.get(name, {})


@pytest.fixture
def heap_set_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No collection looks at what other tests left: those took half a minute."""
    gc.freeze()
    with monkeypatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield
    gc.unfreeze()


@pytest.mark.usefixtures("heap_set_apart")
@pytest.mark.parametrize("name", ALL)
def test_it_keeps_the_contract(name: str, weights: Path) -> None:
    check_callback(class_of(name), **told(name, weights))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_it_keeps_the_contract_at_every_step_and_hook(name: str, weights: Path) -> None:
    check_callback(class_of(name), **told(name, weights), thorough=True)


def test_the_table_names_callbacks_that_exist() -> None:
    assert set(EXPECTED_NOTES) <= set(ALL)


KEEP_WHAT_OTHERS_NEED = {"best_metric", "sanity_check", "save_predictions"}
KEEP_WHAT_OTHERS_NEED |= {"export_model", "requeue", "save_weights"}
"""Observers whose file, value or refusal is what they are for: an error in them ends the run."""


@pytest.mark.parametrize("name", ALL)
def test_observers_warn_and_all_others_raise(name: str) -> None:
    kind = class_of(name)
    forgiving = kind.effect == "observes" and name not in KEEP_WHAT_OTHERS_NEED

    assert kind.effect is not None
    assert kind.on_error == ("warn" if forgiving or name == "watchdog" else "raise")
