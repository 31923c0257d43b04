"""Peak rates of accelerators in matrix products, as their makers state them."""

from __future__ import annotations

PEAK_TFLOPS: dict[str, float] = {
    "B200": 2250.0,
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.5,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "V100 PCIE": 112.0,
    "V100": 125.0,
    "T4": 65.0,
}
"""By a word of the device's name, those that contain others first: 10^12 operations per second in
half precision (bfloat16 or float16) without sparsity, from NVIDIA's data sheets."""


def peak_of(device_name: str) -> float | None:
    """The peak of a device in half precision, in 10^12 operations per second; None: unknown."""
    words = device_name.replace("-", " ")
    for name, peak in PEAK_TFLOPS.items():
        if f" {name} " in f" {words} ":
            return peak
    return None
