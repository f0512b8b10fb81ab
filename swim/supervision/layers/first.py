from swim.supervision.layers import count


def select(depth: int, amount: str) -> range:
    """The n lowest layers."""
    return range(count(amount, depth))
