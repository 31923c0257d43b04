"""Where modules live, and what they share over ranks."""
