"""Devices of modules, and their state over ranks."""
