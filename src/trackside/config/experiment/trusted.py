"""Trust in a kept run's folder: its search path counts when the folder is the user's."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from trackside.run_folder.ownership import distrust

logger = logging.getLogger("trackside")


def search_path(folder: Path, file: str, content: Any) -> list[str]:
    """Folders in which the run's modules lay, as a file in its folder says.

    Whoever writes that list chooses what is imported: of a folder or file that belongs to another
    user, or that anybody may write to, it is not used, and a warning says so.

    Args:
        folder: The run's folder; it may be a link.
        file: Name of the file in it that says so.
        content: What it says; anything but a list of texts is none.
    """
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(one, str) for one in content)
    ):
        return []
    for path in (folder.resolve(), folder / file):
        why = distrust(path)
        if why is not None:
            logger.warning(
                "the search path of the run is not used: %s. If its modules can be trusted: "
                "PYTHONPATH=%s",
                why,
                os.pathsep.join(content),
            )
            return []
    return content
