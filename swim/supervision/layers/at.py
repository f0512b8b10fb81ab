from swim.supervision.layers import single


def select(depth: int, amount: str) -> list[int]:
    """Layers at several places, separated by commas: "at:0.1,0.5,1.0". Places in the same layer count once."""
    return sorted({layer for place in amount.split(",") for layer in single.select(depth, place)})
