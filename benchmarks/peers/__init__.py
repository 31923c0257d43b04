"""The same training by other trainers, beside the loop written by hand."""
