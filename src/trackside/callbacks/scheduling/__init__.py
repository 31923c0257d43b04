"""Schedules of training: rates, settings, limits, which layers learn."""
