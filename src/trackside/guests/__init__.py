"""Callbacks of Trackside as guests in other trainers: one object of that trainer's own kind.

Nothing here imports a trainer before one is asked for, and Trackside's own trainer never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.guests.guest import Guest as Guest
    from trackside.guests.in_ignite import ignite as ignite
    from trackside.guests.in_keras import keras as keras
    from trackside.guests.in_lightning import lightning as lightning
    from trackside.guests.in_transformers import transformers as transformers
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "guest": ("Guest",),
            "in_ignite": ("ignite",),
            "in_keras": ("keras",),
            "in_lightning": ("lightning",),
            "in_transformers": ("transformers",),
        },
    )

__all__ = ["Guest", "ignite", "keras", "lightning", "transformers"]
