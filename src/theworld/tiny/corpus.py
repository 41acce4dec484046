"""Training text of the tiny tokenizer: physical questions, answers, plain English sentences."""

from collections.abc import Iterator
from typing import Final

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
