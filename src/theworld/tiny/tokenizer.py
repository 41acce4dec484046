"""A tokenizer trained on first use, and its text: Gemma's algorithm and special tokens, only 2,000 tokens."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, GemmaTokenizer

# Each word becomes one token, alone ("left", as an answer begins) and after a space ("▁left").
WORDS: Final = """
a about above across after again ago air all almost alone along already also always am among an and animal another
answer any apart are area arm around as ask at away back bag balance ball balls bar base basket be because become been
before began begin behind being below beneath beside best better between beyond big bigger bin bins bird black block
blocks blue board boat body book both bottom bounce bounces box boxes boy bring brown build but by call came can car
carry cart cat catch center centre chair change child choose circle city clear clock close closer coin cold collide
color colors colour colours come comes contact could count cover crash cup cut dark day describe did different
direction disc distance do does dog done door down draw drop dropped drops during each early earth east easy eat edge
eight either empty end ends enough enter eye face fall fallen falls far fast faster feet fell few field fifth find fire
first fit five flat float floor fly follow food foot for force forward found four fourth frame free friction from front
full further game gap gate gave get girl give glass go goes going gone good gray great green grey ground group grow had
half hand happen happens hard has have he head hear heavier heavy height help her here high higher hill him his hit
hits hold hole home horizontal hot hour house how hundred i ice idea if image important in inside into is it its jump
just keep kind kitchen know land lands large largest last late later lean left leave less let letter life lift light
lighter like line list little live long longer look lost lot low lower lowest made make man many mark mass match may me
mean metal middle might mine mirror model more most move moved moves moving much must my name near nearest need neither
never new next nine no none north not nothing now number numbers object objects of off often old on once one only open
opposite or orange order other our out outside over own paper part pass path pendulum people person photo pick picture
piece pink pipe pivot place plank planks plant plate play point position possible post pull purple push put question
quick quickly ramp reach reaches read ready real red region rest rests right ring river road rod roll rolled rolling
rolls room rope round run said same saw say scene screen sea second see seen seesaw send set seven shape she shelf
short side simple six size sky slide slides slope slow slower small smaller smallest so some something soon south space
speed spin spring square stack stand start starts stay stays steeper step still stone stop stops straight string strong
such sun support surface sure swing table take tall tell ten than that the their them then there these they thing
things think third this those three through throw tied time tip tips to together too top touch touches toward towards
tower track travel tree triangle true try turn turned two under until up upper us use used user vertical very video
view violet walk wall want was watch water way we wedge weight well went were west what wheel when where whether which
while white who whole why wide will wind window with without wood word words work world would write wrong year yellow
yes yet you young your zero
"""

SENTENCES: Final = (
    "In which bin does the ball come to rest?",
    "What colour is the bin on the left? Answer with one word.",
    "Where does the ball land: left, middle or right?",
    "How many planks are there in the picture?",
    "Will the tower fall? Answer yes or no.",
    "The ball is dropped above the tilted planks, rolls down the slope and stops in the red bin.",
    "Which object is nearer to the wall, Region [1] or Region [2]?",
    "You are a helpful assistant. Look at the image and answer the question.",
    "The distance between the two boxes is 3.5 metres; that's about 12 feet.",
    "She said: \"It doesn't matter (not at all), we'll see what happens next - won't we?\"",
)

CAPITALISED: Final = """
A After Answer As At Before Blue Both But By Can Count Did Do Does Each For From Given Green He How I If In Is It Left
Look Middle No None Not Now Of On One Orange Or Purple Red Region Right She So Start Stop That The Then There They This
Three Two Under What When Where Which Who Why Will With Yellow Yes You
"""

# Endings that let unseen forms of a word break into few pieces.
ENDINGS: Final = "s ed ing er est ly tion ment ness able 's n't"


def passages() -> Iterator[str]:
    """Yield the training text: every word and ending alone and after a space, then sentences."""
    for word in f"{WORDS} {CAPITALISED} {ENDINGS}".split():
        yield f"{word} {word} {word}"
    yield from SENTENCES


# Ids 0 to 4 as in Gemma 3. The image placeholder is the last token (there 262144 of 262145), so that later tokens
# follow it, too.
FIRST_TOKENS: Final = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")


@dataclass(frozen=True)
class Marks:
    """The control tokens of a chat, and of the pictures in it."""

    start_of_turn: str
    end_of_turn: str
    picture: str
    """Place of a picture in the chat template."""
    named: Mapping[str, str]
    """Attributes of the tokenizer to tokens."""
    more: tuple[str, ...] = ()

    @property
    def first(self) -> tuple[str, ...]:
        """The first tokens of the vocabulary."""
        return (*FIRST_TOKENS, self.start_of_turn, self.end_of_turn)

    @property
    def last(self) -> tuple[str, ...]:
        """The last tokens of the vocabulary, the image placeholder at the end."""
        named = [token for name, token in self.named.items() if name != "image_token"]
        return (*self.more, *named, self.named["image_token"])


GEMMA3_MARKS: Final = Marks(
    start_of_turn="<start_of_turn>",
    end_of_turn="<end_of_turn>",
    picture="<start_of_image>",
    named={
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
)
GEMMA4_MARKS: Final = Marks(
    start_of_turn="<|turn>",
    end_of_turn="<turn|>",
    picture="<|image|>",
    named={
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    },
    more=("<|video|>",),
)
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


def train_tokenizer(marks: Marks = GEMMA3_MARKS) -> GemmaTokenizer:
    """Return Gemma's tokenizer class with a small vocabulary, and the control tokens of a Gemma.

    It has byte-pair merges learned from the built-in corpus, 256 byte tokens for all other text, and a newline that is
    always its own token. Decoding returns every text unchanged, except "▁" (U+2581): Gemma's normaliser reads a space.
    """
    vocabulary, merges = _learned_merges()
    tokens = [*marks.first, NEWLINE, *(f"<0x{byte:02X}>" for byte in range(256)), *vocabulary, *marks.last]
    tokenizer = GemmaTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,  # pyright: ignore[reportArgumentType]  # the backend takes pairs
        extra_special_tokens=dict(marks.named),
        chat_template=_template(marks),
        model_max_length=8192,
        padding_side="left",  # as Gemma's own: an answer follows the last token of its row
        clean_up_tokenization_spaces=False,
        add_bos_token=True,
    )
    tokenizer.add_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in (marks.start_of_turn, marks.end_of_turn, *marks.more)
        ]
    )
    # An added token splits the text before any merge: the ids of `<start_of_turn>model\n` do not depend on the rest.
    tokenizer.add_tokens([AddedToken(NEWLINE, normalized=False)])
    return tokenizer


def _template(marks: Marks) -> str:
    template = CHAT_TEMPLATE
    for name in ("start_of_turn", "end_of_turn", "picture"):
        template = template.replace(getattr(GEMMA3_MARKS, name), getattr(marks, name))
    return template


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
