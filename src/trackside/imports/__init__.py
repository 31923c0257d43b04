"""How packages are imported: public names when asked for, optional ones with advice."""

from __future__ import annotations
