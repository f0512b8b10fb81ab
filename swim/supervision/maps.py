"""From the attention of noun rows to maps on temporal patches, and from those to the mask loss.

Dimensions: S layers, N documents with nouns, R noun rows (padded), K visual tokens (padded), M readings (a noun, or a
sub-token for some queries), P supervised maps (reading × annotated temporal patch), T' × H' × W' token grid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swim import registry
from swim.data.documents import Document, Noun
from swim.data.family import Visual
from swim.data.types import Rle
from swim.recipe import Objective, PatchMasks, Readout
from swim.supervision.attention import AttentionProbe
from swim.supervision.layers import resolve_among
from swim.supervision.mask_targets import MaskTargets, mask_targets
from swim.supervision.per_map import per_map
from swim.supervision.targets import area_share, patch_frames, with_targets
from swim.supervision.unsupported import softmax_layers

# Maps are compared with their masks in chunks of about this many pixels, at the moment when a step's memory peaks: a
# loss works on some ten tensors of 1 MB (a larger mask is a chunk of its own: 100 MB at 1080p). At 2**21 a small
# model's step on a CPU took three times the memory, and was slower. A GPU wants chunks worth a launch: ten tensors of
# 32 MB.
CHUNK_PIXELS = {"cpu": 2**18, "cuda": 2**23}

Size = tuple[int, int]
Group = tuple[Size, Size]  # the token grid of maps and the size at which they are compared


@dataclass(frozen=True)
class NounRead:
    """One map of one noun: `rows` are its rows among those of the `n`-th document with nouns; `document` is the
    number of that document in the batch."""

    document: int
    n: int
    noun: Noun
    visual: Visual
    rows: slice


@dataclass(frozen=True)
class Reading:
    """A probe to pass to the model, and the nouns whose rows it reads."""

    probe: AttentionProbe
    reads: tuple[NounRead, ...]


@dataclass(frozen=True)
class NounMap:
    """The fused map of a noun on the temporal patches where it is annotated. `frames` has the masks of each patch."""

    read: NounRead
    frames: dict[int, tuple[Rle, ...]]
    map_PHW: Tensor


def query_rows(query: str, noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The positions whose attention is read for a noun, one group for each of its maps."""
    groups: tuple[tuple[int, ...], ...] = registry.load("swim.supervision.query", query)(noun)
    return groups


def count_maps(nouns: Sequence[Noun], objective: Objective, frames_per_patch: int) -> int:
    """The number of supervised maps of a document with these nouns; a mask loss is divided by the sum of these."""
    return sum(
        len(query_rows(objective.query, noun)) * len(patch_frames(noun.masks, frames_per_patch, objective.patch_masks))
        for noun in with_targets(nouns, objective.target)
    )


def check_readout(readout: Readout, config: Any) -> tuple[int, ...]:
    """The layers of a readout, ascending: a choice is one of the layers with softmax attention. Raises ValueError for
    layers or heads that a model of this config lacks."""
    text = config.get_text_config()
    if bad := [head for head in readout.chosen_heads if not 0 <= head < text.num_attention_heads]:
        raise ValueError(f"chosen_heads {bad} are outside the model's {text.num_attention_heads} query heads")
    return resolve_among(readout.layers, softmax_layers(text), text.num_hidden_layers)


def plan_reading(
    documents: Sequence[Document], nouns: Sequence[Sequence[Noun]], readout: Readout, model: Any, device: torch.device
) -> Reading | None:
    """The probe and the nouns of a batch; None when it has no noun, or the readout's query no row of any.

    Raises ValueError when nouns do not fit the documents: too many or too few lists, a noun cut off by truncation, one
    before the video's last token (which cannot attend to the whole video), a document with nouns and no video, heads or
    layers that the model does not have.
    """
    if len(documents) != len(nouns):
        raise ValueError(f"{len(nouns)} lists of nouns for {len(documents)} documents: give one each, empty where none")
    layers = check_readout(readout, model.config)
    with_rows: list[Document] = []
    rows: list[list[int]] = []
    reads: list[NounRead] = []
    for i, document in enumerate(documents):
        noun_rows: list[int] = []
        for noun in nouns[i]:
            groups = query_rows(readout.query, noun)
            visual = _check_noun(i, document, noun, [row for group in groups for row in group])
            for group in groups:
                where = slice(len(noun_rows), len(noun_rows) + len(group))
                reads.append(NounRead(i, len(rows), noun, visual, where))
                noun_rows += group
        if noun_rows:
            with_rows.append(document)
            rows.append(noun_rows)
    if not rows:
        return None
    visuals = [document.visual for document in with_rows if document.visual is not None]
    # Padded with a row that is read anyway: a row before the video attends to none of it, and under "all-causal" the
    # exponential of its masked scores overflows, which makes its gradient 0 · ∞.
    most = max(len(noun_rows) for noun_rows in rows)
    rows_NR = torch.tensor([noun_rows + noun_rows[-1:] * (most - len(noun_rows)) for noun_rows in rows])

    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    probe = AttentionProbe(
        layers=layers,
        row_N=torch.tensor([document.row for document in with_rows]),
        start_N=torch.tensor([document.start for document in with_rows]),
        end_N=torch.tensor([document.end for document in with_rows]),
        rows_NR=rows_NR,
        columns_NK=pad([v.columns_K for v in visuals]),
        valid_NK=pad([torch.ones_like(v.columns_K, dtype=torch.bool) for v in visuals]),
        frame_NK=pad([torch.arange(len(v.columns_K)) // (v.grid[1] * v.grid[2]) for v in visuals]),
        domain=readout.domain,
        heads=readout.heads,
        chosen_heads=readout.chosen_heads,
    )
    return Reading(probe.each(lambda tensor: tensor.to(device, non_blocking=True)), tuple(reads))


def _check_noun(number: int, document: Document, noun: Noun, rows: list[int]) -> Visual:
    """The video that the noun's `rows` attend to. Raises ValueError as `plan_reading` says."""
    place, visual = f"document {number}, noun at tokens {list(noun.tokens)}", document.visual
    if visual is None:
        raise ValueError(f"{place}: the document has no visual token to attend to")
    if not all(isinstance(slot, int) and isinstance(rle, Rle) for slot, rle in noun.masks.items()):
        raise ValueError(f"{place}: masks map whole frame slots to Rle; read segmentations with swim.data.masks.to_rle")
    last = max([*noun.tokens, *rows], default=document.end)
    if not noun.tokens or not document.start <= min(noun.tokens) <= last < document.end:
        raise ValueError(
            f"{place}: outside the document's tokens [{document.start}, {document.end}); was the text truncated? "
            "Drop the noun, or keep the whole text"
        )
    # The token before the noun may be a row as well (query "before"), and be the video's last.
    if min(noun.tokens) <= int(visual.columns_K[-1]) or min(rows, default=document.end) < int(visual.columns_K[-1]):
        raise ValueError(f"{place}: it comes before the video's last token; put the video first")
    if late := [slot for slot in noun.masks if not 0 <= slot // visual.frames_per_patch < visual.grid[0]]:
        raise ValueError(f"{place}: masks at frame slots {late}, the video has {visual.grid[0]} temporal patches")
    return visual


def noun_maps(
    reading: Reading, a_SNRK: Tensor, fusion: str, normalise: str, patch_masks: PatchMasks = "both"
) -> list[NounMap]:
    """Fuses over layers, cuts into temporal patches and normalises each. Only annotated patches, and nouns that have
    one.

    `a_SNRK` is the probe's `stacked_SNRK()`.
    """

    def send(values: Sequence[float], dtype: torch.dtype = torch.int64) -> Tensor:
        # A plain copy, or a list as an index, would wait for the whole forward pass.
        return torch.tensor(values, dtype=dtype).to(a_SNRK.device, non_blocking=True)

    rows_X = [read.n * a_SNRK.shape[2] + row for read in reading.reads for row in _range(read.rows)]
    read_X = [m for m, read in enumerate(reading.reads) for _ in _range(read.rows)]
    share_X = [1 / len(_range(read.rows)) for read in reading.reads for _ in _range(read.rows)]
    a_SXK = a_SNRK.flatten(1, 2)[:, send(rows_X)] * send(share_X, a_SNRK.dtype)[:, None]
    a_SMK = a_SXK.new_zeros(len(a_SXK), len(reading.reads), a_SXK.shape[-1])
    a_SMK = a_SMK.index_add(1, send(read_X), a_SXK)
    a_MK = registry.load("swim.supervision.fusion", fusion)(a_SMK)
    # Below 1e-26 counts as 0: the gradient of a logarithm is 1 / a, which overflows in the backward pass of smaller
    # ones (six layers of 1e-7 multiplied are 1e-42). Written so that NaN stays NaN.
    a_MK = torch.where(a_MK < 1e-26, 0.0, a_MK)
    normal = registry.load("swim.supervision.normalise", normalise)
    maps = []
    for read, a_K in zip(reading.reads, a_MK, strict=True):
        if frames := patch_frames(read.noun.masks, read.visual.frames_per_patch, patch_masks):
            T, H, W = read.visual.grid
            map_PHW = a_K[: T * H * W].reshape(T, H, W)[send(list(frames))]
            area_P = send([area_share(frames[patch]) for patch in frames], a_K.dtype) * (H * W)
            maps.append(NounMap(read, frames, normal(map_PHW, area_P)))
    return maps


def _range(rows: slice) -> range:
    return range(rows.start, rows.stop)


def upsample(map_PHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, align_corners=False (paper, section 3.2)."""
    if map_PHW.device.type == "cpu":
        return F.interpolate(map_PHW[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return upsample_by_products(map_PHW, size)


def upsample_by_products(map_PHW: Tensor, size: tuple[int, int]) -> Tensor:
    """The same as two products of matrices, but for rounding. Under deterministic algorithms torch interpolates on a
    GPU by indices, whose backward pass sorts every pixel of the mask."""
    rows_hH, columns_wW = (_weights(n, m, map_PHW.device) for n, m in zip(map_PHW.shape[1:], size, strict=True))
    with torch.autocast(map_PHW.device.type, enabled=False):
        return rows_hH @ map_PHW @ columns_wW.T


@lru_cache(maxsize=256)
def _weights(cells: int, pixels: int, device: torch.device) -> Tensor:
    """[pixels, cells]: the shares of the two nearest cells in each pixel."""
    with torch.inference_mode(False):  # an evaluation may be the first to ask, and training must be able to keep it
        place_p = ((torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5).clamp(0, cells - 1)
        near_p = place_p.floor().long()
        weight_pc = torch.zeros(pixels, cells, dtype=torch.float64)
        row_p = torch.arange(pixels)
        weight_pc[row_p, near_p] = 1 - (place_p - near_p)
        # At the last cell the share of the next one is 0.
        weight_pc[row_p, (near_p + 1).clamp(max=cells - 1)] += place_p - near_p
        return weight_pc.float().to(device, non_blocking=True)


def targets_of(reading: Reading, objective: Objective) -> dict[Group, MaskTargets]:
    """The masks of all supervised maps, on the CPU: one entry for each token grid and size at which they are compared,
    in the order of `mask_loss`."""
    groups: dict[Group, list[tuple[Rle, ...]]] = defaultdict(list)
    for read in reading.reads:
        for frames in patch_frames(read.noun.masks, read.visual.frames_per_patch, objective.patch_masks).values():
            groups[_group(objective, read.visual.grid, frames)].append(frames)
    return {group: mask_targets(masks_P, group[1]) for group, masks_P in groups.items()}


def _group(objective: Objective, grid: tuple[int, int, int], frames: tuple[Rle, ...]) -> Group:
    return grid[1:], (frames[0].height, frames[0].width) if objective.resize == "map-to-mask" else grid[1:]


def mask_loss(
    reading: Reading, a_SNRK: Tensor, objective: Objective, targets: Mapping[Group, MaskTargets] | None = None
) -> tuple[Tensor, int]:
    """The mask loss summed over supervised maps, and their count. fp32.

    Maps are resized to their masks' own resolution (`map-to-mask`), or masks pooled to the token grid (`mask-to-grid`).
    `targets` is `targets_of(reading, objective)`, worked out here where it is not given.
    """
    maps = noun_maps(reading, a_SNRK, objective.fusion, objective.normalise, objective.patch_masks)
    groups: dict[Group, list[Tensor]] = defaultdict(list)
    for item in maps:
        for map_HW, frames in zip(item.map_PHW, item.frames.values(), strict=True):
            groups[_group(objective, item.read.visual.grid, frames)].append(map_HW)
    targets = targets_of(reading, objective) if targets is None else targets
    pixels = CHUNK_PIXELS.get(a_SNRK.device.type, CHUNK_PIXELS["cpu"])
    total = a_SNRK.new_zeros(())
    for (grid, size), maps_HW in groups.items():
        masks = targets[grid, size].each(lambda tensor: tensor.to(a_SNRK.device, non_blocking=True))
        score = partial(_score, objective, masks)
        total = total + per_map(torch.stack(maps_HW), score, max(1, pixels // (size[0] * size[1]))).sum()
    return total, sum(len(item.frames) for item in maps)


def _score(objective: Objective, masks: MaskTargets, map_PHW: Tensor, first: int) -> Tensor:
    mask_PHW = masks.chunk(first, len(map_PHW)).to(map_PHW)
    if objective.resize == "map-to-mask":
        map_PHW = upsample(map_PHW, masks.size)
    loss_P: Tensor = registry.load("swim.supervision.losses", objective.mask_loss)(map_PHW.clamp(0, 1), mask_PHW)
    return loss_P
