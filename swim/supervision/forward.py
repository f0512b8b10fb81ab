"""The forward pass that training and evaluation share: the same positions and the same probe in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim.data.positions import with_positions
from swim.supervision.attention import AttentionProbe
from swim.supervision.blinding import BlindRows
from swim.supervision.frozen_tower import one_clip_at_a_time


def last_hidden(
    model: Any, inputs: Mapping[str, Any], probe: AttentionProbe | None, blind: BlindRows | None = None
) -> Tensor:
    """The last hidden states, [B, L, D], of a stock model (`stock`), and the maps in `probe`; the rows of `blind`, and
    those that are blind in the inputs, do not see the video. `inputs` as `model(...)` takes them. Raises ValueError
    like `with_positions`."""
    inputs = dict(one_clip_at_a_time(model, with_positions(model.config, inputs)))
    if blind is not None:
        inputs["blind"] = (*inputs.get("blind", ()), blind)
    output = model.model(**inputs, use_cache=False, probe=probe)
    hidden_BLD: Tensor = output.last_hidden_state
    return hidden_BLD
