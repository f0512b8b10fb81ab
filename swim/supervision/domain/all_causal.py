import math

import torch
from torch import Tensor

from swim.supervision.attention import Scores


def log_normaliser(scores: Scores) -> Tensor:
    """Every token up to the noun's: the model's own attention, of which the visual columns are kept."""
    every_NHRL = scores.every_NHRL()
    position_L = torch.arange(every_NHRL.shape[-1], device=every_NHRL.device)
    future_NRL = position_L > scores.row_NR[..., None]
    return every_NHRL.masked_fill(future_NRL[:, None], -math.inf).logsumexp(-1, keepdim=True)
