"""AdamW as a recipe asks for it: on fp32 weights, or on bf16 weights with an fp32 master copy of each.

Bytes a trained weight, gradients included: fp32 weights 4 + 4 + 8 (AdamW's two moments) = 16. bf16 weights
2 + 2 + 4 (master) + 8 = 16 as well, but no weight is cast in the forward pass and activations take half. No variant
allocates temporaries of the size of the model: `foreach`, the default on a GPU, needs 4 bytes a weight (30 GB at 7B).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from swim.recipe import Optim


def build_optimizer(parameters: Iterable[nn.Parameter], optim: Optim) -> torch.optim.Optimizer:
    """AdamW on those parameters that are trained: fused on a GPU, with fp32 masters where weights are bf16.

    Raises ValueError where some weights are fp32 and others are not.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    dtypes = {parameter.dtype for parameter in trained}
    if len(dtypes) > 1:
        raise ValueError(f"trained weights of several dtypes, {sorted(map(str, dtypes))}: give all of them one")
    settings: dict[str, Any] = {"lr": optim.lr, "betas": optim.betas, "eps": optim.eps}
    settings |= {"weight_decay": optim.weight_decay}
    if torch.bfloat16 in dtypes:
        return MasterAdamW(trained, **settings)
    fused = bool(trained) and all(parameter.device.type == "cuda" for parameter in trained)
    return torch.optim.AdamW(trained, **settings, fused=fused, foreach=False)


class MasterAdamW(torch.optim.Optimizer):
    """AdamW whose step is taken on an fp32 copy of each bf16 weight; the weight is that copy, rounded.

    A bf16 weight of 0.02 changes by 6e-5 or not at all, so that steps of 2e-5 on it would be lost. The copies are a
    part of the state (`master`), hence of every checkpoint. One weight at a time: its fp32 gradient is the only
    temporary (2 GB for the embeddings of 7B). Gradients of several micro-batches add up in bf16.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of AdamW. Raises ValueError for a closure, which nothing here needs."""
        if closure is not None:
            raise ValueError("MasterAdamW takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, group)

    def _step(self, weight: Tensor, group: dict[str, Any]) -> None:
        fused = weight.device.type == "cuda"
        state = self.state[weight]
        if not state:
            master = weight.detach().float()
            state["step"] = torch.zeros((), device=weight.device if fused else None)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(master), torch.zeros_like(master)
            state["master"] = master
        beta1, beta2 = group["betas"]
        adamw(
            [state["master"]],
            [weight.grad.float()],  # type: ignore[union-attr]
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            foreach=False,
            fused=fused,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        weight.copy_(state["master"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of any optimiser, but the state stays fp32: torch casts it to the weights' dtype."""
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for index, values in state_dict["state"].items():
            weight = weights[index]
            fused = weight.device.type == "cuda"
            self.state[weight] = {
                key: value.to(weight.device) if fused or key != "step" else value for key, value in values.items()
            }
