"""`no_device_waits` names what waits, and lets what doesn't pass."""

from __future__ import annotations

import pytest
import torch

from trackside.testing import DeviceWaitError, no_device_waits


def test_code_that_waits_is_named_with_its_place() -> None:
    loss = torch.ones(3).mean()
    words = r"1 waits for the device: item at .*test_device_waits"
    with pytest.raises(DeviceWaitError, match=words), no_device_waits():
        loss.item()


def test_code_that_waits_for_nothing_passes() -> None:
    loss = torch.ones(3).mean()
    with no_device_waits():
        loss = loss + loss.detach()

    assert loss.item() == 2.0


def test_an_error_inside_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), no_device_waits():
        torch.ones(1).item()
        raise ZeroDivisionError
