"""Language models that judge replies: one small interface, prompts, verdicts, what they cost."""
