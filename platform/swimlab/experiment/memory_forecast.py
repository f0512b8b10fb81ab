"""How much memory a training step takes on a device, by adding up what is alive when it takes most.

Plain formulas of the widths of a model and of what one forward pass is given. Counted are the tensors that
`swim.train` and the Qwen2.5-VL of transformers keep for the backward pass; not what CUDA and libraries take (0.5 to
1 GB), nor memory that the allocator holds in pieces. Against what was measured (Qwen2.5-VL on one H200, and tiny ones):
`tests/swimlab/experiment/test_memory_forecast.py`. For other families, and for shards, the formulas were never held
against a measurement.

Names: w bytes of a trained weight, c of what is computed in, s of a hidden state between layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from swimlab.experiment.model_shape import Shape

Dtype = Literal["float32", "bfloat16"]
BYTES: Mapping[Dtype, int] = {"float32": 4, "bfloat16": 2}
MOMENTS_BYTES = 8  # AdamW's two, in fp32
MASTER_BYTES = 4  # beside each bf16 weight
# Of the logits of a labelled position: in the backward pass of the cross-entropy log-probabilities, the gradient of
# the loss by them, and that by the logits, each in fp32.
LOGIT_BYTES = 12
# The mask loss works on ten tensors of a chunk of pixels (`swim.supervision.maps.CHUNK_PIXELS`).
MASK_CHUNK_BYTES = {"cuda": 10 * 4 * 2**23, "cpu": 10 * 4 * 2**18}
PATCH_VALUES = 3 * 2  # colours × frames of a temporal patch, times its pixels


@dataclass(frozen=True)
class Step:
    """What decides the memory of a step beside the widths of the model.

    Attributes:
        tokens: of a forward pass, padding included.
        visual: how many of them are of videos.
        labels: how many of them are labels, on which the head runs.
        padded: whether the pass has several conversations: keys and values then get a copy for each query head.
        passes: forward passes of an optimiser step on one device.
        trained, frozen: dtype of the weights that are trained, and of the others.
        computed: dtype of matrix products; where it is bf16 and `trained` fp32, each weight is cast for its product.
        checkpointed: how many layers keep their input alone; the last ones of the others keep all.
        adapters: LoRA's weights; None where all of the text tower is trained.
        adapted: matrices of a layer with adapters.
        compiled: norms and gates run as one kernel each, which keep less.
        optimiser: whether AdamW's states exist and its step is taken; else forward and backward passes alone.
        supervised: whether maps are supervised.
        shards: devices that share weights, gradients and states.
        copies: devices with a copy of the model each; DDP holds each gradient a second time, to exchange it.
    """

    tokens: int
    visual: int
    labels: int
    padded: bool = False
    passes: int = 1
    trained: Dtype = "float32"
    frozen: Dtype = "bfloat16"
    computed: Dtype = "bfloat16"
    checkpointed: int = 0
    adapters: int | None = None
    adapted: int = 0
    compiled: bool = True
    optimiser: bool = True
    supervised: bool = True
    shards: int = 1
    copies: int = 1
    device: Literal["cuda", "cpu"] = "cuda"

    @property
    def cast(self) -> bool:
        """Whether trained weights are cast for each product."""
        return self.trained != self.computed

    @property
    def residual_bytes(self) -> int:
        """Bytes of a weight of the text tower, and so of a hidden state between its layers."""
        return BYTES[self.trained if self.adapters is None else self.frozen]


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. `held` lasts from step to step, by what it is; `moments` are what else is alive at the
    moments that may be the peak."""

    held: Mapping[str, float]
    moments: Mapping[str, float]

    @property
    def peak(self) -> float:
        """The most that is allocated at once."""
        return sum(self.held.values()) + max(self.moments.values())

    @property
    def moment(self) -> str:
        """When that is."""
        return max(self.moments, key=lambda name: self.moments[name])


def memory(shape: Shape, step: Step) -> Memory:
    """The memory of a step of a model of these widths."""
    trained = shape.text_weights if step.adapters is None else step.adapters
    frozen = shape.vision_weights + (0 if step.adapters is None else shape.text_weights)
    w, gathered = BYTES[step.trained], 0.0
    if step.shards > 1:  # FSDP2: the layer at work and the next are whole, and so are embeddings and head
        gathered = (2 * shape.layer_weights + shape.embedding_weights) * step.residual_bytes
    held = {
        "trained weights": trained * w / step.shards,
        "frozen weights": frozen * BYTES[step.frozen] / step.shards,
    }
    if step.optimiser:
        master = MASTER_BYTES if step.trained == "bfloat16" else 0
        held["optimiser"] = trained * (MOMENTS_BYTES + master) / step.shards
    gradients = trained * w / step.shards
    if step.copies > 1:
        held["gradients to exchange"] = gradients
    if step.passes > 1:
        held["gradients"] = gradients
        gradients = 0.0
    held["pixels"] = 4.0 * shape.patches(step.visual) * PATCH_VALUES * shape.patch_px**2
    moments = {name: needs + gathered for name, needs in _moments(shape, step, gradients)}
    return Memory(held, moments)


def _moments(shape: Shape, step: Step, gradients: float) -> Iterator[tuple[str, float]]:
    """(what happens, bytes alive besides what is held). `gradients` is what they come to in this pass; those of earlier
    passes are held."""
    w, share = BYTES[step.trained], 1 / step.shards
    yield "vision tower", _tower_bytes(shape, step)
    kept, work = layer_bytes(shape, step), _layer_work(shape, step)
    whole = shape.layers - step.checkpointed
    inputs = float(step.residual_bytes * shape.hidden * step.tokens)
    saved = step.checkpointed * inputs + whole * kept + norm_bytes(shape, step, products=1)
    saved += step.visual * shape.hidden * BYTES[step.computed]  # the features
    logits = float(step.labels * shape.vocabulary * LOGIT_BYTES)
    masks = MASK_CHUNK_BYTES[step.device] if step.supervised else 0
    yield "losses", saved + max(logits, masks)
    # The first gradient is the head's.
    of_head, of_layer = 0.0, 0.0
    if step.adapters is None:
        of_head = float(shape.vocabulary * shape.hidden * w) * share
        of_layer = float(shape.layer_weights * w) * share
    # Where gradients are held, the new one is made beside the old; in a lower precision before that.
    added = step.passes > 1
    head_copies = shape.vocabulary * shape.hidden * (BYTES[step.computed] * 2 * step.cast + w * added)
    yield "backward of the head", saved + logits + of_head * (not added) + head_copies * (step.adapters is None)
    made = 0.0 if added else of_head
    for number in range(shape.layers):  # from the last layer down
        left = shape.layers - 1 - number
        whole_left = max(0, whole - number - 1)
        yield f"backward of layer {left}", made + (left - whole_left + 1) * inputs + whole_left * kept + kept + work
        made += 0.0 if added else of_layer
    embedding = 0.0 if step.adapters is not None else float(shape.vocabulary * shape.hidden * w)
    yield "backward of the embeddings", (gradients - embedding * share) + embedding + inputs
    if step.optimiser:
        yield "optimiser step", gradients + _optimiser_work(shape, step)


def norm_bytes(shape: Shape, step: Step, products: int) -> float:
    """What an RMSNorm and the inputs of the `products` that read its output keep.

    Eager it squares an fp32 copy (its input itself where that is fp32) and, where its weight is trained, keeps the
    normalised state; compiled its input alone. Products share their input, unless it is cast for each."""
    s, c, trains = step.residual_bytes, BYTES[step.computed], step.adapters is None
    norm = s if step.compiled else 4 + s * trains
    copies = products if s != c else 1
    inputs = c * copies if trains else 0
    return float((norm + inputs) * shape.hidden * step.tokens)


def layer_bytes(shape: Shape, step: Step) -> float:
    """What one layer keeps for its backward pass, with all activations kept."""
    c, trains = BYTES[step.computed], step.adapters is None
    keys = shape.query_width if step.padded else shape.key_width
    attention = c * (2 * shape.query_width + 2 * keys)  # rotated queries, keys, values, and the output
    # gate, its activation (recomputed where compiled) and up; their product where `down` is trained
    mlp = c * shape.intermediate * (2 + (not step.compiled) + trains)
    kept = norm_bytes(shape, step, products=3) + norm_bytes(shape, step, products=2) + (attention + mlp) * step.tokens
    if trains:
        return kept + (shape.layer_weights * c if step.cast else 0)
    return kept + step.adapted * c * shape.hidden * step.tokens  # each adapter casts its input for itself


def _layer_work(shape: Shape, step: Step) -> float:
    """What the backward pass of a layer makes beside: two gradients as wide as the MLP, and the gradient of its largest
    matrix before that is cast or added."""
    c, w = BYTES[step.computed], BYTES[step.trained]
    matrix = shape.hidden * shape.intermediate if step.adapters is None else 0
    return float(2 * c * shape.intermediate * step.tokens + matrix * (c * step.cast + w * (step.passes > 1)))


def _tower_bytes(shape: Shape, step: Step) -> float:
    """The frozen tower at work, which keeps nothing: residual, normed and attended states, and three of the MLP."""
    return float(
        BYTES[step.frozen] * shape.patches(step.visual) * (6 * shape.vision_hidden + 3 * shape.vision_intermediate)
    )


def _optimiser_work(shape: Shape, step: Step) -> float:
    """fp32 copies of the largest trained matrix: its gradient beside a master, and the denominator where AdamW is not
    fused (on a CPU)."""
    largest = shape.hidden * (max(shape.vocabulary, shape.intermediate) if step.adapters is None else 0)
    return 4.0 * largest * ((step.trained == "bfloat16") + 2 * (step.device == "cpu")) / step.shards
