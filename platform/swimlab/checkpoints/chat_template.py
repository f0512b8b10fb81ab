"""The text of a chat as a model was trained on it, as a template that transformers and its processors read.

A checkpoint from the hub has a template of its own, which stays where it writes what `swim.data.encode.Encoder` writes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import TemplateError

from swim.data.chat import Message
from swim.data.family import Family
from swimlab.checkpoints.processor_files import processor_of

_TEMPLATE = (
    "{% set roles = ROLES %}{{ START }}{% if messages[0]['role'] != 'system' %}{{ DEFAULT }}{% endif %}"
    "{% for message in messages %}{% set around = roles[message['role']] %}{{ around[0] }}"
    "{% if message['content'] is string %}{{ around[1] + message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ IMAGE }}{% elif part['type'] == 'video' %}{{ VIDEO }}"
    "{% elif part['type'] == 'text' %}{{ around[1] + part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ around[2] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ roles['assistant'][0] }}{% endif %}"
)
_QUESTION = "What is shown?"
_TEXT = {"type": "text", "text": _QUESTION}
_ABOUT_VIDEO = [{"role": "user", "content": [{"type": "video"}, _TEXT]}]
_ABOUT_NOTHING = [{"role": "user", "content": [_TEXT]}]


def template_for(tokenizer: Any, family: Family, system: str | None) -> str:
    """The tokenizer's own template if it writes a question as the Encoder does with this system prompt, else ours."""
    ours, own = _ours(family, system), tokenizer.chat_template
    return own if isinstance(own, str) and _rendered(tokenizer, own) == _rendered(tokenizer, ours) else ours


def system_prompt(tokenizer: Any, family: Family) -> str | None:
    """The system prompt that the tokenizer's template puts before a question; None where there is none.

    Raises ValueError for a tokenizer without a template, or with one that writes a question in another way than models
    of the family are asked.
    """
    if not isinstance(tokenizer.chat_template, str):
        raise ValueError("it has no chat template: copy chat_template.jinja from the model that it was made of")
    text = _rendered(tokenizer, tokenizer.chat_template, _ABOUT_NOTHING)
    question = _rendered(tokenizer, _ours(family, None), _ABOUT_NOTHING) or ""
    if text == question:
        return None
    start, system = "".join(family.chat.start), family.chat.system
    head = start + "".join(system.opening) + system.lead
    tail = "".join(system.closing) + question.removeprefix(start)
    if text is not None and text.startswith(head) and text.endswith(tail):
        return text.removeprefix(head).removesuffix(tail)
    raise ValueError(
        f"its chat template writes a question as {text!r}, which {family.config.model_type} was not trained on: copy "
        "chat_template.jinja from the model that it was made of"
    )


def _ours(family: Family, system: str | None) -> str:
    chat, processor = family.chat, processor_of(family.config.model_type)
    opening, lead, closing = _around(chat.system)
    values = {
        "ROLES": {"system": _around(chat.system), "user": _around(chat.human), "assistant": _around(chat.answer)},
        "START": "".join(chat.start),
        "DEFAULT": "" if system is None else opening + lead + system + closing,
        "IMAGE": processor.IMAGE,
        "VIDEO": processor.VIDEO,
    }
    # In one pass: a system prompt may hold these words. What JSON writes Jinja reads as its own.
    return re.sub("|".join(values), lambda name: json.dumps(values[name[0]]), _TEMPLATE)


def _around(message: Message) -> tuple[str, str, str]:
    """What stands before the video, before the words, and after them."""
    return "".join(message.opening), message.lead, "".join(message.closing)


def _rendered(tokenizer: Any, template: str, chat: Any = _ABOUT_VIDEO) -> str | None:
    """A chat with the prompt for an answer; None from a template that takes texts only, as that of Qwen2.5's
    tokenizer."""
    try:
        text: str = tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except (TypeError, TemplateError):
        return None
    return text
