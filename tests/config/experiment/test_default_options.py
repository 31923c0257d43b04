from __future__ import annotations

from tests.config.files import good, write
from trackside.config.experiment.loading import load


def test_defaults_stand_where_a_file_would_give_them() -> None:
    found = load(write(good())).default_options()
    assert found["trainer/log_every"] == "50 steps"
    assert found["trainer/accumulate"] == 1
    assert found["optimizer/lr"] == 0.001
    assert "optimizer/params" not in found
