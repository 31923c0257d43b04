"""Performance: measurements of time, and ways to save it."""
