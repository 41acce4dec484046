"""Judge on this machine, a Gemma 3 or a TheWorld without its world; separate because an endpoint needs no torch."""

from theworld.evaluation.judges.client import CallRefusedError, JudgeReply
from theworld.evaluation.judges.prompts import Prompt
from theworld.modeling import TheWorld
from theworld.modeling.factory import describe_weights, on_this_machine

_MOST_NEW_TOKENS = 256
"""Longest reply if the settings do not limit it, tokens."""


class LocalJudge:
    """Asks a checkpoint, one prompt at a time, decoding greedily.

    Args:
        checkpoint: hub id, folder, or "tiny".
        max_new_tokens: longest reply, tokens.
        dtype: number format of its weights; auto: as saved, or float32 if this machine emulates the saved one.

    Raises:
        ValueError: for a model that is not a Gemma 3.
        OSError: for a model that does not exist.
    """

    def __init__(self, checkpoint: str, max_new_tokens: int | None = None, dtype: str = "auto") -> None:
        self.model = TheWorld.from_pretrained(checkpoint, enable_world=False, **on_this_machine(dtype)).eval()
        self.max_new_tokens = max_new_tokens or _MOST_NEW_TOKENS

    @property
    def name(self) -> str:
        """Name of the model with the fingerprint of its weights, or its revision."""
        return describe_weights(self.model)

    async def ask(self, prompt: Prompt) -> JudgeReply:
        """Reply to one prompt.

        Raises:
            CallRefusedError: for a prompt longer than the model's context.
        """
        processor = self.model.processor
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in (("system", prompt.system), ("user", prompt.user))
        ]
        inputs = processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
        ).to(self.model.device)
        num_prompt_tokens = inputs["input_ids"].shape[1]
        longest = self.model.config.get_text_config().max_position_embeddings
        if num_prompt_tokens + self.max_new_tokens > longest:
            raise CallRefusedError(
                f"a prompt of {num_prompt_tokens} tokens; the model takes {longest}, its reply included"
            )
        output = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        reply = output[0, num_prompt_tokens:]
        return JudgeReply(processor.decode(reply, skip_special_tokens=True).strip(), num_prompt_tokens, len(reply))
