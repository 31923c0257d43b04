from __future__ import annotations

import pytest

from trackside.callbacks.performance.peaks import peak_of


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 NVL", 835.5),
        ("Tesla V100-PCIE-16GB", 112.0),
        ("NVIDIA A100-SXM4-40GB", 312.0),
        ("Tesla V100-SXM2-16GB", 125.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_peak_is_known_by_the_name_of_the_device(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak
