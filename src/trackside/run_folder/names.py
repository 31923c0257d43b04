"""Names of the files that a run leaves in its folder, for all that write and read them."""

from __future__ import annotations

CONFIGURATION = "config.yaml"
SETTINGS = "settings.json"
DEFAULTS = "defaults.json"
ENVIRONMENT = "environment.json"
CHANGES = "changes.diff"
OUTCOME = "outcome.json"
HISTORY = "history.jsonl"
RECEIPT = "receipt.json"
JOURNAL = "journal.jsonl"
CHECKPOINTS = "checkpoints"
CAPSULE = "capsule.json"
CAPSULE_STACKS = "stacks.txt"
CAPSULE_TENSORS = "tensors.safetensors"
PICTURES = "pictures"
TEXTS = "texts"
