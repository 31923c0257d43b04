"""`python -m trackside` is the command `trackside`."""

from __future__ import annotations

from trackside.cli.main import main

if __name__ == "__main__":
    main()
