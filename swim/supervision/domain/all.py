from torch import Tensor

from swim.supervision.attention import Scores


def log_normaliser(scores: Scores) -> Tensor:
    """Every token of the sample, text and the future included, without a causal mask, as in the released code."""
    return scores.every_NHRL().logsumexp(-1, keepdim=True)
