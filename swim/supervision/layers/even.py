from swim.supervision.layers import count


def select(depth: int, amount: str) -> range:
    """n evenly spaced layers that end with the last: of 28, "even:6" is the paper's 2, 7, 12, 17, 22, 27 (Table 3)."""
    n = count(amount, depth)
    step = min(round(depth / n), (depth - 1) // (n - 1)) if n > 1 else 1
    return range(depth - 1 - step * (n - 1), depth, step)
