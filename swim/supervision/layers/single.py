from swim.supervision.layers import number


def select(depth: int, amount: str) -> tuple[int]:
    """One layer: by its number, or by its place between the first ("0.0") and the last ("1.0")."""
    place = number(amount)
    layer = place if isinstance(place, int) else round(place * (depth - 1))
    if not 0 <= layer < depth:
        raise ValueError(f"there is no layer {amount}; the model has 0 to {depth - 1}")
    return (layer,)
