from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trackside import Settings
from trackside.callbacks.evaluation.save_predictions import SavePredictions
from trackside.errors import ConfigurationError
from trackside.testing import tiny_classification


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_the_file_holds_predictions_and_targets_in_data_set_order(
    tmp_path: Path, file_format: str
) -> None:
    task = tiny_classification()
    save = SavePredictions("val", file_format=file_format)  # type: ignore[arg-type]
    trainer = task.trainer(callbacks=[save], settings=Settings(directory=tmp_path))
    trainer.fit(task.train, task.validation, epochs=1)

    assert save.last is not None
    if file_format == "npz":
        found = np.load(save.last)
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(save.last)
        found = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    expected = trainer.predict(task.validation)
    np.testing.assert_allclose(found["prediction"], expected.numpy(), rtol=1e-6)
    targets = torch.cat([target for _, target in task.validation])
    np.testing.assert_array_equal(found["target"], targets.numpy())


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="can't be saved as 'csv'"):
        SavePredictions(file_format="csv")  # type: ignore[arg-type]
