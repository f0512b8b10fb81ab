"""Query rows that do not see the video: their attention logits at its tokens are the lowest number, in every layer.

Only the rows in question are computed again, by the model's own attention function, so that no L × L mask is kept (a
kernel that needs none runs as before) and every other row of the layer is the same to the bit.

Dimensions as in `swim.supervision.attention`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

# Keywords of an attention function that hold something for each query of the whole row.
OF_EVERY_ROW = ("position_bias", "indices", "block_indices")
Attended = tuple[Tensor, Tensor | None]


class BlindRows:
    """A keyword of `model(...)`: `rows_NR` (padding repeats the last) of the batch rows `row_N` do not see the columns
    `columns_NK`, of which `valid_NK` marks the real ones. Gradients pass."""

    # No dataclass, as for the probe: FSDP2 would hand a copy to the layers.
    def __init__(self, row_N: Tensor, rows_NR: Tensor, columns_NK: Tensor, valid_NK: Tensor) -> None:
        self.row_N, self.rows_NR = row_N, rows_NR
        # Padding names a column that is hidden anyway.
        self.columns_NK = torch.where(valid_NK, columns_NK, columns_NK[:, :1])

    @classmethod
    def of_lists(cls, row: Sequence[int], rows: Sequence[list[int]], columns: Sequence[list[int]]) -> Self:
        """Of each batch row in `row`, the positions `rows` are blind to the `columns`; neither may be empty."""

        def padded(lists: Sequence[list[int]]) -> Tensor:
            most = max(map(len, lists))
            return torch.tensor([positions + positions[-1:] * (most - len(positions)) for positions in lists])

        columns_NK = padded(columns)
        return cls(torch.tensor(row), padded(rows), columns_NK, torch.ones_like(columns_NK, dtype=torch.bool))

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """With every tensor changed."""
        copied = copy.copy(self)
        for name, tensor in vars(self).items():
            setattr(copied, name, change(tensor))
        return copied

    def at(self, position: int) -> Self:
        """The row at this position of the same batch rows, blind to the same columns."""
        moved = copy.copy(self)
        moved.rows_NR = torch.full_like(self.rows_NR[:, :1], position)
        return moved

    def apply(
        self,
        attended: Attended,
        forward: Callable[..., Attended],
        module: nn.Module,
        query_BHLD: Tensor,
        key_BGLD: Tensor,
        value_BGLD: Tensor,
        attention_mask: Tensor | None,
        keywords: Mapping[str, Any],
    ) -> Attended:
        """What a layer's attention function `forward` made of the other arguments, its output [B, L, H, D] and, where
        it returns it, its attention [B, H, L, L], with the blind rows in place of those that see.

        Raises ValueError for a layer that gives its attention function something for each query.
        """
        if given := [name for name in OF_EVERY_ROW if keywords.get(name) is not None]:
            raise ValueError(f"the attention of this model has {', '.join(given)}, which cannot be cut to a few rows")
        place = self.row_N[:, None], self.rows_NR
        query_NHRD = query_BHLD.transpose(1, 2)[place].transpose(1, 2)
        bias_N1RL = self._bias(attention_mask, query_BHLD, key_BGLD.shape[2])
        key_NGLD, value_NGLD = key_BGLD[self.row_N], value_BGLD[self.row_N]
        blind_NRHD, blind_NHRL = forward(module, query_NHRD, key_NGLD, value_NGLD, bias_N1RL, **keywords)
        output_BLHD, weights_BHLL = attended
        output_BLHD = output_BLHD.index_put(place, self._once(blind_NRHD))
        if weights_BHLL is not None and blind_NHRL is not None:
            weights_BLHL = weights_BHLL.transpose(1, 2).index_put(place, self._once(blind_NHRL.transpose(1, 2)))
            weights_BHLL = weights_BLHL.transpose(1, 2)
        return output_BLHD, weights_BHLL

    def _once(self, values_NRHX: Tensor) -> Tensor:
        """The values of rows, where a row that padding repeats has a gradient once."""
        repeated_NR = torch.zeros_like(self.rows_NR, dtype=torch.bool)
        repeated_NR[:, 1:] = self.rows_NR[:, 1:] == self.rows_NR[:, :-1]
        return torch.where(repeated_NR[..., None, None], values_NRHX.detach(), values_NRHX)

    def _bias(self, attention_mask: Tensor | None, query_BHLD: Tensor, keys: int) -> Tensor:
        """What is added to the logits of the rows, [N, 1, R, L]: the model's own mask there, and the lowest number at
        the columns. transformers gives no mask to a layer that is causal and nothing else."""
        batch, _, length, _ = query_BHLD.shape
        lowest = torch.finfo(query_BHLD.dtype).min
        if attention_mask is None:
            # Kept keys of earlier tokens stand in front of those of the queries.
            position_NR = self.rows_NR + (keys - length)
            seen_NRL = torch.arange(keys, device=query_BHLD.device) <= position_NR[..., None]
        else:
            seen_NRL = attention_mask.expand(batch, -1, -1, -1)[:, 0][self.row_N[:, None], self.rows_NR]
        if seen_NRL.dtype == torch.bool:
            seen_NRL = query_BHLD.new_zeros(seen_NRL.shape).masked_fill(~seen_NRL, lowest)
        n_N1 = torch.arange(len(self.columns_NK), device=self.columns_NK.device)[:, None]
        hidden_NL = torch.zeros(len(n_N1), seen_NRL.shape[-1], dtype=torch.bool, device=n_N1.device)
        hidden_NL[n_N1, self.columns_NK] = True
        return seen_NRL.masked_fill(hidden_NL[:, None], lowest)[:, None]
