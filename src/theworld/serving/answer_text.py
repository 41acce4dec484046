"""The text of an answer, token by token, separate from decoding: text that was sent never changes."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class AnswerText:
    """The text of an answer, token by token.

    Published text never changes. White space at the end, a part of a character, and the possible start of a stop text
    therefore wait for the next token.

    Args:
        tokenizer: a copy of the model's tokenizer, for the model thread alone.
        stops: texts that end the answer; the answer does not contain them.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream([], skip_special_tokens=True)
        self._stops = stops
        self._text = ""
        self._published = ""
        self.stopped = False
        """True once the answer contains a stop text."""

    def add(self, token_id: int) -> str:
        """Add a token; return the text that is ready to publish."""
        before = len(self._text)
        self._text += self._decoder.step(self._tokenizer.backend_tokenizer, token_id) or ""
        for stop in self._stops:
            start = self._text.find(stop, max(0, before - len(stop) + 1))
            if start >= 0:
                self._text, self.stopped = self._text[:start], True
        waiting = 0 if self.stopped else self._num_possible_stop()
        ready = self._text[: len(self._text) - waiting].strip()
        piece = ready[len(self._published) :]
        self._published += piece
        return piece

    def _num_possible_stop(self) -> int:
        """Return the length of the longest end of the text with which a stop text begins."""
        text = self._text
        lengths = (length for stop in self._stops for length in range(1, len(stop)) if text.endswith(stop[:length]))
        return max(lengths, default=0)

    def end(self, token_ids: Sequence[int]) -> tuple[str, str]:
        """Return (the unpublished rest, the whole text) after the last token."""
        text = self._text if self.stopped else self._tokenizer.decode(token_ids, skip_special_tokens=True)
        text = text.strip()
        if not text.startswith(self._published):  # the decoder revised its text: published text stays
            text = self._published
        return text[len(self._published) :], text
