"""What a forward pass needs besides the inputs of the model, worked out from a batch in CPU memory.

Asked of a batch on a GPU, each of these questions (where are the labels, the documents, the nouns, the masks?) waits
for all work that the GPU was given before, and then leaves it idle: 18 to 47 ms a step of 7B on an H200.

Dimensions: B batch rows, L row length, N labelled positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim.data.documents import Noun, documents
from swim.data.encode import IGNORE
from swim.recipe import Objective
from swim.supervision.maps import Group, Reading, plan_reading, targets_of
from swim.supervision.mask_targets import MaskTargets
from swim.supervision.targets import with_targets


@dataclass(frozen=True)
class ForwardPlan:
    """`kept_N`: the positions in B·L whose next token is a label, `target_N` those tokens; the nouns to read, and the
    masks of their maps (None and empty without supervision). Kept by no step: it may be used again."""

    kept_N: Tensor
    target_N: Tensor
    reading: Reading | None
    targets: dict[Group, MaskTargets]

    def to(self, device: torch.device) -> ForwardPlan:
        """The plan on a device, with a probe that has read nothing yet. The host waits for no copy."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ForwardPlan:
        """The plan in pinned memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> ForwardPlan:
        reading = self.reading and replace(self.reading, probe=self.reading.probe.each(change))
        targets = {group: masks.each(change) for group, masks in self.targets.items()}
        return ForwardPlan(change(self.kept_N), change(self.target_N), reading, targets)


def plan_forward(
    model: Any,
    objective: Objective,
    inputs: Mapping[str, Tensor],
    labels_BL: Tensor,
    nouns: Sequence[Sequence[Noun]],
) -> ForwardPlan:
    """The plan of a batch for a transformers model, of which only the config is read. On the CPU, wherever the batch
    is. Raises ValueError as `plan_reading` and `documents` do, DataError for masks that are damaged."""
    reading = None
    if objective.mask_weight > 0 and any(nouns):
        nouns = [with_targets(of_document, objective.target) for of_document in nouns]
        reading = plan_reading(documents(model.config, inputs), nouns, objective, model, torch.device("cpu"))
    targets = targets_of(reading, objective) if reading else {}
    return ForwardPlan(*labelled(labels_BL.cpu()), reading, targets)


def labelled(labels_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The positions in B·L whose next token is a label, and those tokens."""
    next_BL = F.pad(labels_BL[:, 1:], (0, 1), value=IGNORE).flatten()
    kept_N = (next_BL != IGNORE).nonzero()[:, 0]
    return kept_N, next_BL[kept_N]
