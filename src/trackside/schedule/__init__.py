"""When something is due: `Every(steps=100)`, `Every(epochs=1) | Every(seconds=600)`.

A schedule is a value; a `Due` remembers where it stands. Counts fire when they are *crossed*,
whatever the batch size, and depend on progress alone, so that a resumed run fires as an unbroken
one does.
"""

from __future__ import annotations

from trackside.schedule.due import Due as Due
from trackside.schedule.due import count_of as count_of
from trackside.schedule.due import reached as reached
from trackside.schedule.every import AllOf as AllOf
from trackside.schedule.every import AnyOf as AnyOf
from trackside.schedule.every import Every as Every
from trackside.schedule.every import Schedule as Schedule
from trackside.schedule.every import Unit as Unit
from trackside.schedule.every import is_plain as is_plain
from trackside.schedule.forecast import due_steps as due_steps
from trackside.schedule.forecast import firings as firings
from trackside.schedule.forecast import is_unknown as is_unknown
from trackside.schedule.grids import STEP_UNITS as STEP_UNITS
