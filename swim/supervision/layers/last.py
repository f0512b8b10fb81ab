from swim.supervision.layers import count


def select(depth: int, amount: str) -> range:
    """The n highest layers."""
    return range(depth - count(amount, depth), depth)
