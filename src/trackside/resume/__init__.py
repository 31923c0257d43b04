"""Exact resume as a library: for loops that you write, and for trainers that you keep.

`keep` is for a loop by hand, `in_lightning` and `in_transformers` for these trainers. Checkpoints
have Trackside's own format: whole or not there, verified, nothing pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.resume.custody import Custody as Custody
    from trackside.resume.keeping import keep as keep
    from trackside.resume.lightning_host import in_lightning as in_lightning
    from trackside.resume.loader import KeptLoader as KeptLoader
    from trackside.resume.transformers_host import in_transformers as in_transformers
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "custody": ("Custody",),
            "keeping": ("keep",),
            "lightning_host": ("in_lightning",),
            "loader": ("KeptLoader",),
            "transformers_host": ("in_transformers",),
        },
    )

__all__ = ["Custody", "KeptLoader", "in_lightning", "in_transformers", "keep"]
