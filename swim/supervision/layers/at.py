from swim.supervision.layers import single


def select(depth: int, amount: str) -> list[int]:
    """Several places, separated by commas: "at:0.1,0.5,1.0". Two that fall on one layer are one."""
    return sorted({layer for place in amount.split(",") for layer in single.select(depth, place)})
