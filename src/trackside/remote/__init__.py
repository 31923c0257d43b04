"""Remote storage: a run is written here, and uploaded to where an address of fsspec points."""

from __future__ import annotations
