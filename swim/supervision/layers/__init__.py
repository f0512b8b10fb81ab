"""Which layers are supervised, for any depth (paper, Table 3). One file, one function `select`.

`select(depth, amount) -> layers`: from the model's number of layers and the amount in the choice to layer numbers.

Layers count from 0. A choice is written "name" or "name:amount" ("even:6", "first:0.5"); `amount` is the text after the
colon: a whole number counts layers, a number with a point is a fraction of the depth.
"""

from swim import registry

EXPORT = "select"


def resolve(choice: str | tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Ascending layer numbers. Raises ValueError for layers outside the model, repeated layers, unknown choices."""
    if isinstance(choice, str):
        name, _, amount = choice.partition(":")
        try:
            return tuple(registry.load(__name__, name)(depth, amount))
        except ValueError as error:
            raise ValueError(f"layers {choice!r} of {depth}: {error}") from error
    if bad := [layer for layer in choice if not 0 <= layer < depth]:
        raise ValueError(f"layers {bad} are outside the model's {depth} layers")
    if not choice or len(set(choice)) != len(choice):
        raise ValueError(f"layers {choice}: name at least one layer, and each once")
    return tuple(sorted(choice))


def resolve_among(choice: str | tuple[int, ...], layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Ascending layer numbers of a model of which only `layers` have softmax attention: a choice counts and spaces
    those ("even:6" of Qwen3.5 are six of its full-attention layers), and numbers must be among them. Raises ValueError
    as `resolve` does, and for a number that is no such layer."""
    if isinstance(choice, str):
        return tuple(layers[place] for place in resolve(choice, len(layers)))
    chosen = resolve(choice, depth)
    if without := [layer for layer in chosen if layer not in layers]:
        raise ValueError(f"layers {without} have no softmax attention to supervise; those that have: {list(layers)}")
    return chosen


def number(amount: str) -> int | float:
    """A whole number (of layers), or a fraction in [0, 1] (of the depth) where it has a point."""
    try:
        value = float(amount) if "." in amount else int(amount)
    except ValueError:
        raise ValueError(f"{amount!r} is no number; write layers as '6', a fraction of the depth as '0.5'") from None
    if isinstance(value, float) and not 0 <= value <= 1:
        raise ValueError(f"the fraction {amount} is not between 0.0 and 1.0")
    return value


def count(amount: str, depth: int) -> int:
    """The number of layers that `amount` means: "6", or "0.5" of the depth, rounded, at least one."""
    value = number(amount)
    layers = value if isinstance(value, int) else max(1, round(value * depth))
    if not 1 <= layers <= depth:
        raise ValueError(f"asks for {layers} layers; the model has {depth}")
    return layers
