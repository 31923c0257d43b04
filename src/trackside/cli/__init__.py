"""The command `trackside`: one file per command."""
