import math

from torch import Tensor

from swim.supervision.attention import Scores


def log_normaliser(scores: Scores) -> Tensor:
    """The visual tokens of one temporal patch (a passage of the paper mentions a single frame's tokens)."""
    score_NHRK = scores.visual_NHRK
    n_frames = int(scores.frame_NK.max()) + 1
    frame_NHRK = scores.frame_NK[:, None, None].expand_as(score_NHRK)
    # Each patch's own maximum: under the row's, a patch that is attended e⁻⁸⁷ less than another underflows to 0.
    peak_NHRT = score_NHRK.new_full((*score_NHRK.shape[:-1], n_frames), -math.inf)
    peak_NHRT = peak_NHRT.scatter_reduce(-1, frame_NHRK, score_NHRK.detach(), "amax")
    peak_NHRK = peak_NHRT.gather(-1, frame_NHRK)
    weight_NHRK = (score_NHRK - peak_NHRK).exp()
    total_NHRT = weight_NHRK.new_zeros(peak_NHRT.shape).scatter_add(-1, frame_NHRK, weight_NHRK)
    return peak_NHRK + total_NHRT.gather(-1, frame_NHRK).log()
