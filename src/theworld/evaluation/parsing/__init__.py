"""What a reply says: pure functions from text to a letter, a polarity, a choice, a length or a clock hour."""
