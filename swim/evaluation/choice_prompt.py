"""Questions with options get told how to answer. Which questions have options is seen in the text: a clip keeps no
other trace of its row."""

import re

INSTRUCTION = "Answer with the letter of the best option and nothing else."
_OPTIONS = re.compile(r"(?:\n\([A-Z]\) [^\n]*){2,}\Z")


def with_instruction(question: str) -> str:
    """The question, and the instruction below it where it ends with two or more lines "(A) …"."""
    return f"{question}\n{INSTRUCTION}" if _OPTIONS.search(question) else question
