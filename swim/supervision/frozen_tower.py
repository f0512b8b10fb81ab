"""A frozen vision tower stays out of the autograd graph, whatever hooks transformers or PEFT put on its inputs.

Both `gradient_checkpointing_enable` of transformers 5.23 and `get_peft_model` make the output of the tower's patch
embedding require a gradient (`enable_input_require_grads`). A tower without a trained weight is then recomputed and
differentiated for nothing: 8.36 s a step of a 7B model instead of 1.73 s on an H200.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# On a tower: the grad modes to return to, the innermost call last.
_MODES = "_grad_modes_outside"


def keep_out_of_graph(model: Any) -> None:
    """Runs the model's vision tower under `torch.no_grad` in every forward pass in which none of its weights is
    trained, so that it may be frozen or released later. A model without a tower is left as it is.

    Calling it again changes nothing. A tower that is trained in part is run as it comes.
    """
    tower = vision_tower(model)
    if tower is None or hasattr(tower, _MODES):
        return
    setattr(tower, _MODES, [])
    tower.register_forward_pre_hook(_enter)
    tower.register_forward_hook(_leave, always_call=True)


def vision_tower(model: Any) -> nn.Module | None:
    """The vision tower of a transformers model; None for a model of text alone."""
    if not hasattr(model, "get_encoder"):
        return None
    # transformers answers with the model itself, or the model below its head, where there is no encoder.
    tower: nn.Module = model.get_encoder("image")
    return None if tower in (model, model.base_model) else tower


def _enter(tower: nn.Module, args: Any) -> None:
    modes: list[bool] = getattr(tower, _MODES)
    modes.append(torch.is_grad_enabled())
    if not any(parameter.requires_grad for parameter in tower.parameters()):
        torch.set_grad_enabled(False)


def _leave(tower: nn.Module, args: Any, output: Any) -> None:
    modes: list[bool] = getattr(tower, _MODES)
    if modes:  # empty where another hook raised before `_enter`
        torch.set_grad_enabled(modes.pop())
