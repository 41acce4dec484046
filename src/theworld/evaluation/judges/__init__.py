"""Language models that judge replies: clients, prompts, verdicts and their cost."""
