"""English word lists for the rules: the closed word classes, and the commonest words of the open ones."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "the a an this that these those another each every some any both two three four five six seven eight nine ten "
    "several many few"
)
POSSESSIVES = _words("his her its their my your our whose")
PRONOUNS = _words(
    "i you he she it we they him them us me himself herself itself themselves someone somebody something everyone "
    "everybody everything nobody nothing one others who whom what which"
)
# Words that may follow a noun phrase and are no verbs: prepositions, conjunctions, relative words.
STOPS = _words(
    "in on at by with without within from to into onto over under above below behind beside besides between among "
    "near next across along around through throughout during before after against toward towards inside outside of "
    "off up down about as like than upon beyond past amid atop underneath beneath opposite via while because since "
    "until when where that who which whose for but or nor so then also not"
)
AUXILIARIES = _words(
    "is are was were be been being am has have had does do did can could will would shall should may might must "
    "seems appears remains becomes gets keeps stays continues begins starts stops tries"
)
# Auxiliaries whose verb stands in its base form behind the subject of a question.
MODALS = _words("do does did can could will would shall should may might must")
FUNCTION_WORDS = DETERMINERS | POSSESSIVES | PRONOUNS | STOPS | AUXILIARIES | {"and", "there", "here", "yes", "no"}

# In "a group of people" the visible objects are the people.
CONTAINERS = _words("group pair couple piece set bunch crowd row stack pile number herd flock")
# Nouns for the video or the marked object itself, which say nothing about the object.
FRAMES = _words("video clip scene footage image picture frame object item region area subject thing entity target mask")
SHOWS = _words("is are was be as shows depicts features displays captures contains presents represents appears")

# Plurals that do not end in s.
PLURALS = _words("people men women children feet teeth mice geese sheep fish cattle police")
# Nouns in -ing, -ed, -ly or -s that are no verb form, adverb or plural.
NOUNS = _words(
    "building painting ceiling railing clothing wedding king ring string wing thing bed sled seed weed shed family "
    "fly belly bully jelly ally bus glass dress grass bass chess boss cross moss class octopus cactus walrus "
    "hippopotamus tennis iris gas lens canvas chaos compass glasses scissors trousers pants jeans shorts goggles "
    "headphones binoculars sunglasses series species"
)

# Transitive ones in -ing or -ed may have a noun behind them and still end the noun phrase ("a man wearing glasses").
VERBS = _words(
    "wear hold carry ride play eat drink use push pull drive walk run jump sit stand lie lean lift throw catch kick "
    "hit swim fly climb crawl hop swing slide roll spin turn move rest sleep smile laugh talk speak sing dance wave "
    "look gaze stare watch read write draw paint cook cut chop stir pour wash clean brush touch grab reach pick put "
    "place take give hand pass drop open close enter leave exit approach follow chase lead lick sniff chew bite "
    "bark wag perform demonstrate adjust show display face feature remain appear seem become begin start stop "
    "continue keep stay get make go come travel float drift hover land feed graze bend kneel squat crouch stretch "
    "shake nod raise lower point interact engage participate compete practice train balance skate ski surf row "
    "paddle pedal fish position locate dress seat surround cover attach mount park situate prepare work build fix "
    "examine inspect explore attempt try rotate shift step march gallop trot wander roam stroll sprint race cross "
    "cast perch fall rise glide soar dive dip splash flap flutter peck nibble sip taste tap press type squeeze "
    "twist tie wrap fold hang drag lay set fill load unload record film photograph pose gesture clap cheer "
    "celebrate hug kiss pet stroke groom assist help teach instruct guide serve handle manipulate operate control "
    "steer navigate maneuver extend consist contain depict capture belong include stick lose win observe listen "
    "wait sway bounce dribble shoot pitch bowl bat strum blow light glow shine burn melt boil fry bake change "
    "transform emerge disappear return head"
)
IRREGULAR = _words(
    "wore worn held rode ridden ate eaten drank drove driven ran sat stood lay lain threw thrown caught swam flew "
    "flown swung slid spun slept spoke sang wove took taken gave given led bit bitten shook shaken rose risen fell "
    "fallen dove hung drew drawn wrote written cut put read built made went gone came kept got began begun fed bent "
    "knelt taught fought lost won said saw seen"
)
# Verb forms that are nouns just as often: alone they do not mark the verb.
UNSURE = _words(
    "rings lights watches lands hands heads faces bats boxes points rows races trains waves shows works turns "
    "drives rides walks looks plays dances drinks parks sets covers cuts ties wraps folds crosses brushes paints "
    "steps swings slides hops tapes types feeds shoots pitches bowls stops starts controls guides displays"
)

ADJECTIVES = _words(
    "black white red green blue yellow brown orange purple pink grey gray beige tan golden gold silver cream ivory "
    "navy maroon teal turquoise khaki crimson scarlet fawn ginger blonde blond brunette auburn dark light pale "
    "bright vivid colorful colourful multicolored multicoloured transparent clear shiny metallic matte glossy small "
    "large big little tiny huge giant massive tall short long wide narrow thick thin slim slender chubby heavy "
    "round square rectangular oval circular curved straight flat young old elderly adult middle-aged senior baby "
    "female male new modern vintage antique classic traditional wooden metal plastic leather woolen woollen cotton "
    "knitted fluffy furry hairy smooth rough soft hard wet dry clean dirty dusty muddy plain striped spotted dotted "
    "checkered checked plaid patterned floral printed colored coloured haired bearded legged faced sleeved eared "
    "tailed skinned sized shaped bald curly wavy sleek muscular athletic lean strong slight friendly lovely lively "
    "happy sad calm quiet loud playful curious cute beautiful pretty handsome elegant fancy casual formal sporty "
    "bare shirtless barefoot sturdy lone single solitary other same first second third last main left right upper "
    "front rear nearest closest foremost central distant nearby adjacent domestic wild tabby shaggy stout hooded "
    "feathered horned asian african caucasian american european full half empty electric electronic digital "
    "mechanical professional ornate delicate fresh ripe raw cooked frozen sliced whole top bottom middle inner "
    "outer high low deep shallow fast slow quick red-haired grey-haired gray-haired dark-haired light-colored dark- "
    "colored neon pastel tawny reddish brownish greenish bluish yellowish greyish grayish whitish blackish"
)
# Adjectives that are also nouns: "The fawn stands", "an orange lies".
NOUN_ADJECTIVES = _words("fawn orange adult female male baby tabby gold silver cream blonde brunette plaid")
