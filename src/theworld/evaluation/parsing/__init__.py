"""Answer extraction: pure functions from a reply to a letter, yes or no, a choice, a length or a clock hour."""
