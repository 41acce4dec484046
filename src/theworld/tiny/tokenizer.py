"""A tokenizer trained on first use: Gemma's algorithm and special tokens, 2,000 tokens instead of 262,145."""

import json
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, GemmaTokenizer

from theworld.tiny.corpus import passages

# Ids 0 to 4 as in Gemma 3. The image placeholder is the last token (there 262144 of 262145), so that later tokens
# follow it, too.
FIRST_TOKENS: Final = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
LAST_TOKENS: Final = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
NEWLINE: Final = "\n"
MOST_LEARNED_TOKENS: Final = 2048  # the corpus needs 1829: each of its words is one token

# Same output as the template of google/gemma-3-4b-it for string contents and for lists of text and image items.
CHAT_TEMPLATE: Final = """\
{{- bos_token -}}
{%- set prefix = namespace(text='') -%}
{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}
    {%- set prefix.text = (system if system is string else system[0]['text']) + '\n\n' -%}
    {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if turn['role'] != ('assistant' if loop.index0 % 2 else 'user') -%}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
    {%- endif -%}
    {{- '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else 'user') + '\n' -}}
    {{- prefix.text if loop.first else '' -}}
    {%- if turn['content'] is string -%}
        {{- turn['content'] | trim -}}
    {%- else -%}
        {%- for item in turn['content'] -%}
            {{- '<start_of_image>' if item['type'] == 'image' else item['text'] | trim -}}
        {%- endfor -%}
    {%- endif -%}
    {{- '<end_of_turn>\n' -}}
{%- endfor -%}
{{- '<start_of_turn>model\n' if add_generation_prompt else '' -}}
"""


def train_tokenizer() -> GemmaTokenizer:
    """Return Gemma's tokenizer class with a small vocabulary.

    It has byte-pair merges learned from the built-in corpus, 256 byte tokens for all other text, and a newline that is
    always its own token. Decoding returns every text unchanged, except "▁" (U+2581): Gemma's normaliser reads a space.
    """
    vocabulary, merges = _learned_merges()
    tokens = [*FIRST_TOKENS, NEWLINE, *(f"<0x{byte:02X}>" for byte in range(256)), *vocabulary, *LAST_TOKENS]
    tokenizer = GemmaTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,  # pyright: ignore[reportArgumentType]  # the backend takes pairs
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        chat_template=CHAT_TEMPLATE,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
        add_bos_token=True,
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<start_of_turn>", "<end_of_turn>")]
    )
    # An added token splits the text before any merge: the ids of `<start_of_turn>model\n` do not depend on the rest.
    tokenizer.add_tokens([AddedToken(NEWLINE, normalized=False)])
    return tokenizer


def _learned_merges() -> tuple[list[str], list[tuple[str, str]]]:
    """Return the tokens in id order and the merges that make them."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Split(Regex(r"[^▁\p{L}']|▁(?=\P{L})"), "isolated"),  # each digit and each sign separately
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_LEARNED_TOKENS,
        min_frequency=1,
        initial_alphabet=[chr(code) for code in range(ord("!"), ord("~") + 1)],
        show_progress=False,
    )
    trained.train_from_iterator(passages(), trainer)
    vocabulary = trained.get_vocab()
    state = json.loads(trained.to_str())["model"]
    return sorted(vocabulary, key=vocabulary.__getitem__), [tuple(merge) for merge in state["merges"]]
