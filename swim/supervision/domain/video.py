from torch import Tensor

from swim.supervision.attention import Scores


def log_normaliser(scores: Scores) -> Tensor:
    """All visual tokens of the video (paper, eq. 5)."""
    return scores.visual_NHRK.logsumexp(-1, keepdim=True)
