"""Launchers beside torch's own: other systems that start the processes of a training."""
