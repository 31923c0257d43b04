from __future__ import annotations

import pytest
import torch

from tests.device import DEVICE
from trackside.callbacks.evaluation.offline_loss import OfflineLoss
from trackside.testing import tiny_regression


def test_it_is_the_mean_over_the_data_with_the_weights_as_they_are() -> None:
    task = tiny_regression()
    result = task.trainer(callbacks=[OfflineLoss("train")]).fit(task.train, epochs=3)

    with torch.no_grad():
        parts = [(task.model(x.to(DEVICE)).cpu(), y) for x, y in task.train]
        predictions, targets = (torch.cat(part).double() for part in zip(*parts, strict=True))
    expected = (predictions - targets).square().mean().item()
    assert result.history.latest("offline/train") == pytest.approx(expected, rel=1e-6)
    assert len(result.history.values("offline/train")) == 3
