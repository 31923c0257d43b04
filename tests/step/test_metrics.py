from __future__ import annotations

import pytest
import torch

from trackside.step.metrics import MetricLog, merged

CPU = torch.device("cpu")


def test_the_logs_of_several_ranks_go_on_as_one() -> None:
    ranks = [MetricLog() for _ in range(3)]
    for number, log in enumerate(ranks[:2]):
        log.add("train/loss", float(number), 2.0)
        log.recent()
        log.add("train/loss", torch.tensor(10.0 + number), 1.0)
    ranks[1].add("only/there", 5.0, 1.0)

    one = MetricLog()
    one.load_state_dict(merged([log.state_dict() for log in ranks]), CPU)

    assert one.recent() == {"train_recent/loss": pytest.approx(10.5), "only/there": 5.0}
    assert one.epoch() == {"train/loss": pytest.approx((0 * 2 + 1 * 2 + 10 + 11) / 6)}


def test_nothing_merged_is_an_empty_log() -> None:
    assert merged([]) == {}
