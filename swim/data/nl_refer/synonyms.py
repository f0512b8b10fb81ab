"""The synonym variant of a rewritten row: only the words inside `<ins>` are replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swim.data.annotations.markup import strip_tags
from swim.data.annotations.samples import locate, sample_key
from swim.data.types import DataError

_TAG = re.compile(r"<ins>(.*?)</ins>")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ARTICLE = re.compile(r"\b(an?)\s+\Z", re.IGNORECASE)
_HINT = "write a synonym by hand, or leave the row out of the synonym file"

# Words of about the same meaning and breadth, since nothing else in the sentence changes.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "man": ("gentleman", "guy"),
    "woman": ("lady",),
    "person": ("individual",),
    "boy": ("lad",),
    "girl": ("lass",),
    "child": ("kid", "youngster"),
    "kid": ("child",),
    "children": ("kids", "youngsters"),
    "people": ("individuals",),
    "men": ("gentlemen", "guys"),
    "women": ("ladies",),
    "guy": ("man",),
    "lady": ("woman",),
    "gentleman": ("man",),
    "baby": ("infant",),
    "infant": ("baby",),
    "toddler": ("tot",),
    "dog": ("hound", "canine"),
    "puppy": ("pup",),
    "cat": ("feline",),
    "kitten": ("kitty",),
    "horse": ("steed",),
    "cow": ("bovine",),
    "pig": ("hog",),
    "rabbit": ("bunny",),
    "donkey": ("burro",),
    "snake": ("serpent",),
    "rat": ("rodent",),
    "rooster": ("cockerel",),
    "chicken": ("hen",),
    "lizard": ("reptile",),
    "monkey": ("simian",),
    "bug": ("insect",),
    "insect": ("bug",),
    "car": ("automobile", "vehicle"),
    "automobile": ("car",),
    "truck": ("lorry",),
    "bus": ("coach",),
    "bicycle": ("bike",),
    "bike": ("bicycle",),
    "motorcycle": ("motorbike",),
    "motorbike": ("motorcycle",),
    "airplane": ("aircraft", "plane"),
    "plane": ("aircraft", "jet"),
    "boat": ("vessel",),
    "ship": ("vessel",),
    "sofa": ("couch",),
    "couch": ("sofa",),
    "armchair": ("recliner",),
    "stool": ("seat",),
    "chair": ("seat",),
    "rug": ("carpet",),
    "carpet": ("rug",),
    "cup": ("mug",),
    "mug": ("cup",),
    "bowl": ("dish",),
    "plate": ("dish",),
    "bottle": ("flask",),
    "pan": ("skillet",),
    "knife": ("blade",),
    "bag": ("sack",),
    "backpack": ("rucksack",),
    "suitcase": ("case",),
    "box": ("carton",),
    "basket": ("hamper",),
    "laptop": ("notebook",),
    "computer": ("machine",),
    "phone": ("telephone", "handset"),
    "television": ("telly",),
    "camera": ("camcorder",),
    "jacket": ("coat",),
    "coat": ("jacket",),
    "shirt": ("top",),
    "sweater": ("pullover", "jumper"),
    "hat": ("cap",),
    "cap": ("hat",),
    "shoe": ("sneaker",),
    "trousers": ("pants",),
    "pants": ("trousers",),
    "glasses": ("spectacles",),
    "street": ("road",),
    "road": ("street",),
    "house": ("home",),
    "rock": ("stone", "boulder"),
    "stone": ("rock",),
    "ball": ("sphere",),
    "singer": ("vocalist",),
    "athlete": ("sportsperson",),
    "performer": ("entertainer",),
    "soldier": ("trooper",),
    "policeman": ("officer",),
    "doctor": ("physician",),
    "chef": ("cook",),
    "rider": ("jockey",),
    "leaf": ("frond",),
    "wave": ("billow",),
}


def nouns(row: dict[str, Any]) -> list[str]:
    """The tagged words of a rewritten row's questions, in reading order."""
    return [match[1] for entry in row["conversations"][::2] for match in _TAG.finditer(entry["value"])]


def from_table(row: dict[str, Any], *, file: str, number: int) -> tuple[str, ...]:
    """One synonym a tagged noun, from `SYNONYMS`: the first that fits its sentence. Raises DataError with the row."""
    synonyms: list[str] = []
    for entry, match in _tags(row):
        choices = [_match_capital(word, match[1]) for word in _table_synonyms(match[1])]
        value = row["conversations"][entry]["value"]
        fitting = [word for word in choices if not _problem(value, match, word)]
        if not fitting:
            reason = f"the table has no synonym for {match[1]!r}" + (" that fits its sentence" if choices else "")
            raise _located_error(reason, entry, row, file, number)
        synonyms.append(fitting[0])
    return tuple(synonyms)


def replace(row: dict[str, Any], synonyms: Sequence[str], *, file: str, number: int) -> dict[str, Any]:
    """The row with its tagged words replaced, in reading order. Raises DataError with the row for a word that does not
    fit."""
    tags = list(_tags(row))
    if len(tags) != len(synonyms):
        raise _located_error(f"{len(synonyms)} synonyms for {len(tags)} tags", 0, row, file, number)
    conversations = [dict(entry) for entry in row["conversations"]]
    for (entry, match), word in reversed(list(zip(tags, synonyms, strict=True))):
        if problem := _problem(row["conversations"][entry]["value"], match, word):
            raise _located_error(problem, entry, row, file, number)
        value = conversations[entry]["value"]
        conversations[entry]["value"] = value[: match.start(1)] + word + value[match.end(1) :]
    return row | {"conversations": conversations}


def _tags(row: dict[str, Any]) -> list[tuple[int, re.Match[str]]]:
    questions = range(0, len(row["conversations"]), 2)
    return [(entry, match) for entry in questions for match in _TAG.finditer(row["conversations"][entry]["value"])]


def _problem(value: str, match: re.Match[str], word: str) -> str:
    """Why a word cannot replace a tagged one; "" when it can."""
    noun = match[1]
    if not _WORD.fullmatch(word):
        return f"the synonym {word[:40]!r} is not one word, or a hyphenated one"
    if word.lower() == noun.lower():
        return f"the synonym of {noun!r} is the same word"
    if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", strip_tags(value)[0], re.IGNORECASE):
        return f"the synonym {word!r} is already in the sentence: it would name something else"
    if article := _ARTICLE.search(value[: match.start()]):
        vowel = word[0].lower() in "aeiou"
        if vowel != (article[1].lower() == "an"):
            return f"{article[1]!r} before the synonym {word!r} would be wrong, and only the tagged word may change"
    return ""


def _table_synonyms(noun: str) -> tuple[str, ...]:
    word = noun.lower()
    if word in SYNONYMS:
        return SYNONYMS[word]
    return tuple(_pluralise(synonym) for synonym in SYNONYMS.get(word.removesuffix("s"), ()) if word.endswith("s"))


def _pluralise(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def _match_capital(word: str, noun: str) -> str:
    """The word, capitalised where the noun is."""
    return word.capitalize() if noun[0].isupper() else word


def _located_error(reason: str, entry: int, row: dict[str, Any], file: str, number: int) -> DataError:
    error = DataError(reason, field=f"conversations[{entry}].value", hint=_HINT)
    return locate(error, file=file, row=number, key=sample_key(row, file=file, row=number))
