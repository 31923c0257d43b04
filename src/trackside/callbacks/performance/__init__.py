"""Where the time goes, and how to get some of it back."""
