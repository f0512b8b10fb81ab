"""The text of a chat as a model was trained on it, as a template that transformers and its processors read.

A checkpoint from the hub has a template of its own, which stays where it writes what `swim.data.encode.Encoder` writes.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

_BEGIN, _END = "<|im_start|>", "<|im_end|>"
_SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nSYSTEM<|im_end|>\n{% endif %}"
_MESSAGES = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QUESTION = "What is shown?"
_CHAT = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _QUESTION}]}]


def template_for(tokenizer: Any, system: str | None) -> str:
    """The tokenizer's own template if it writes a question as the Encoder does with this system prompt, else ours."""
    ours = ("" if system is None else _SYSTEM.replace("SYSTEM", system)) + _MESSAGES
    own = tokenizer.chat_template
    return own if isinstance(own, str) and _rendered(tokenizer, own) == _rendered(tokenizer, ours) else ours


def system_prompt(tokenizer: Any) -> str | None:
    """The system prompt that the tokenizer's template puts before a question; None where there is none.

    Raises ValueError for a tokenizer without a template, or with one that writes a question about a video in another
    way than Qwen's models are asked.
    """
    if not isinstance(tokenizer.chat_template, str):
        raise ValueError("it has no chat template: copy chat_template.jinja from the model that it was made of")
    text, question = _rendered(tokenizer, tokenizer.chat_template), _rendered(tokenizer, _MESSAGES)
    head, tail = f"{_BEGIN}system\n", f"{_END}\n{question}"
    if text == question:
        return None
    if text is not None and text.startswith(head) and text.endswith(tail):
        return text.removeprefix(head).removesuffix(tail)
    raise ValueError(
        f"its chat template writes a question as {text!r}, which Qwen2.5-VL was not trained on: copy "
        "chat_template.jinja from the model that it was made of"
    )


def _rendered(tokenizer: Any, template: str) -> str | None:
    """A question about a video; None from a template that takes texts only, as that of Qwen2.5's tokenizer."""
    try:
        text: str = tokenizer.apply_chat_template(
            _CHAT, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except (TypeError, TemplateError):
        return None
    return text
