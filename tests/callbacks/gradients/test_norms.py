"""Norms of many tensors, and which ones a pattern means."""

from __future__ import annotations

import math

import pytest
import torch

from trackside.callbacks.gradients.norms import check_norm_type, matching, total_norm
from trackside.errors import ConfigurationError


@pytest.mark.parametrize(("norm_type", "expected"), [(2.0, 5.0), (1.0, 7.0), (math.inf, 4.0)])
def test_the_norm_is_that_of_one_long_vector(norm_type: float, expected: float) -> None:
    assert total_norm([torch.tensor([3.0]), torch.tensor([[0.0, -4.0]])], norm_type) == expected


def test_the_norm_of_nothing_is_zero() -> None:
    assert total_norm([]) == 0


def test_a_pattern_means_names_and_an_empty_one_is_refused() -> None:
    names = ["encoder.0.weight", "encoder.0.bias", "head.weight"]

    assert matching(names, ["encoder.*", "*.weight"]) == {
        "encoder.*": names[:2],
        "*.weight": [names[0], names[2]],
    }
    with pytest.raises(ConfigurationError, match="no parameter is called 'decoder"):
        matching(names, ["decoder.*"])


@pytest.mark.parametrize("norm_type", [0.5, 0.0, -1.0, math.nan])
def test_what_is_no_norm_is_refused(norm_type: float) -> None:
    with pytest.raises(ConfigurationError, match="norm"):
        check_norm_type(norm_type)
