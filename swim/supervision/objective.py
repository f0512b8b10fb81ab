"""SWIM's objective: text_weight · cross-entropy + mask_weight · mask loss on the nouns' attention (paper, eqs. 5-7).

Every loss here is a sum and its count, so that the caller divides by the global count of the optimiser batch: the loss
of a batch is then the count-weighted mean over its samples, for any micro-batches and ranks.

Dimensions: B batch rows, L row length, N labelled positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim import registry
from swim.data.documents import Noun
from swim.recipe import Objective
from swim.supervision.attention import attach
from swim.supervision.forward import last_hidden
from swim.supervision.forward_plan import ForwardPlan, plan_forward
from swim.supervision.maps import check_readout, mask_loss


@dataclass(frozen=True)
class Losses:
    """Sums over label tokens and over supervised maps, with their counts."""

    text_sum: Tensor
    text_count: int
    mask_sum: Tensor
    mask_count: int

    @property
    def text(self) -> Tensor:
        """Mean over label tokens (0 without any)."""
        return self.text_sum / max(1, self.text_count)

    @property
    def mask(self) -> Tensor:
        """Mean over supervised maps (0 without any)."""
        return self.mask_sum / max(1, self.mask_count)


def stock(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper, or the model itself where there is none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def mask_weight(objective: Objective, progress: float) -> float:
    """λ_mask at `progress` through the steps: the objective's weight times its schedule."""
    if objective.mask_weight == 0:  # a control has no schedule, neither here nor in its code fingerprint
        return 0.0
    factor = registry.load("swim.supervision.schedule", objective.mask_schedule)
    return objective.mask_weight * float(factor(progress))


class SupervisedModel(nn.Module):
    """A stock transformers model and its objective as one module, so that DDP and FSDP see a single forward.

    Attaches the probe. Raises ValueError for a model that cannot be probed (see `attach`), and for layers or heads
    that the model does not have.
    """

    def __init__(self, model: Any, objective: Objective) -> None:
        super().__init__()
        attach(stock(model))
        check_readout(objective, stock(model).config)
        self.model = model
        self.objective = objective

    def total(self, losses: Losses, progress: float = 1.0) -> Tensor:
        """text_weight · text + mask_weight · schedule · mask of one batch; `progress` through the steps is in (0, 1].

        Over several micro-batches or ranks divide sums by global counts instead, as `swim.train` does.
        """
        weight = mask_weight(self.objective, progress)
        return self.objective.text_weight * losses.text + weight * losses.mask

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        labels_BL: Tensor,
        nouns: Sequence[Sequence[Noun]],
        plan: ForwardPlan | None = None,
    ) -> Losses:
        """`inputs` as `model(...)` takes them; `labels_BL` are token ids, or -100 for tokens that are no labels;
        `nouns` has one list per document (a sample; packing puts several into a row), empty without supervision.
        `plan` is `plan_forward` of the same, worked out here where it is not given."""
        model, device = stock(self.model), labels_BL.device
        plan = (plan or plan_forward(model, self.objective, inputs, labels_BL, nouns)).to(device)
        probe = plan.reading.probe if plan.reading else None
        hidden_BLD = last_hidden(model, inputs, probe)
        text_sum, text_count = text_loss(model.lm_head, hidden_BLD, plan.kept_N, plan.target_N)
        mask_sum, mask_count = hidden_BLD.new_zeros((), dtype=torch.float32), 0
        if plan.reading is not None:
            a_SNRK = plan.reading.probe.stacked_SNRK()
            trained = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
            if trained and not a_SNRK.requires_grad:
                raise RuntimeError(
                    f"the attention at layers {plan.reading.probe.layers} carries no gradient: gradient checkpointing "
                    "is reentrant, or q_proj and k_proj up to there are frozen"
                )
            mask_sum, mask_count = mask_loss(plan.reading, a_SNRK, self.objective, plan.targets)
        return Losses(text_sum, text_count, mask_sum, mask_count)


def text_loss(lm_head: nn.Module, hidden_BLD: Tensor, kept_N: Tensor, target_N: Tensor) -> tuple[Tensor, int]:
    """Next-token cross-entropy, summed, and its count. The head runs on the positions `kept_N` of B·L only, which are
    followed by the labels `target_N`: logits are the largest tensor of a step (4,096 × 152,064 in fp32 is 2.5 GB), and
    almost none of them is used."""
    logits_NV = lm_head(hidden_BLD.flatten(0, 1)[kept_N]).float()
    return F.cross_entropy(logits_NV, target_N, reduction="sum"), len(kept_N)
