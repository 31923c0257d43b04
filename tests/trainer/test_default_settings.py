from __future__ import annotations

from trackside.testing import tiny_regression
from trackside.trainer.default_settings import default_settings
from trackside.trainer.trainer import Trainer


def test_a_trainer_that_is_given_no_setting_describes_its_defaults() -> None:
    trainer = tiny_regression().trainer(defaults=True)
    provenance = trainer.callbacks["provenance"]
    defaults = default_settings(Trainer)
    assert provenance.defaults == defaults
    assert set(defaults) == {
        *("seed", "precision", "accumulate", "clip"),
        *("device", "compile", "step", "log_every", "deterministic"),
    }
    assert defaults["log_every"] == "50 steps"
