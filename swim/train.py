"""Training that decides the numbers: batch plan, step, schedule. Plain torch; a host supplies device, ranks, callbacks.

Works alone (`train(recipe, clips)`) and inside any process group: with `torch.distributed` initialised the batch is
split over the ranks, each with a copy of the model or a share of it, which changes nothing but rounding.
"""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from swim import checkpoint, models, parallel
from swim.checkpoint import Checkpoint, Snapshot
from swim.data import sources
from swim.data.clips import Clips, as_clips, subset
from swim.data.encode import IGNORE, Batch, Encoder
from swim.data.family import family_of
from swim.data.prefetch import Prefetch
from swim.data.sources import Mixture
from swim.data.types import Clip
from swim.deterministic import deterministic
from swim.feed import step_batches
from swim.models.fused import compiled_elementwise
from swim.models.vision import prepare_vision
from swim.models.vision_features import Features, FrozenTower, frozen_tower
from swim.optimizer import build_optimizer
from swim.outputs import MetricPoint
from swim.recipe import HubModel, Objective, Optim, Recipe
from swim.supervision.maps import count_maps
from swim.supervision.objective import SupervisedModel, mask_weight, stock


@dataclass
class Host:
    """Where a recipe runs. Nothing in here may change a number beyond rounding.

    `on_step(step, values, now)` is called on every rank after every optimiser step, with the values of the whole batch
    (a host may report through a barrier) and the run as it stands, to look at and to save; `on_start(now)` before the
    first. `micro_batch` splits a rank's share of the batch into forward passes of at most that many conversations,
    `micro_tokens` into ones of at most that many tokens, padding included (a longer conversation alone). `shard`
    spreads the model over the process group (FSDP2, as `sharding` says) where it would be copied (DDP). `compiled`:
    on a GPU norms, gated activations and rotary embeddings run compiled (`swim.models.fused`; 6 s once). `features`
    is called with the model's frozen vision tower, if it has one, before the first step: it answers from then on what
    the tower makes of clips, of those that it knows (of a sharded model all or none, on all ranks alike, since they run
    the tower together). `resume` is where an earlier run of this recipe stood, on any number of ranks
    (`swim.checkpoint`); it was started then.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    micro_batch: int | None = None
    micro_tokens: int | None = None
    shard: bool = False
    sharding: parallel.Sharding = field(default_factory=parallel.Sharding)
    compiled: bool = True
    features: Callable[[FrozenTower], Features] | None = None
    on_start: Callable[[Moment], None] = lambda now: None
    on_step: Callable[[int, dict[str, float], Moment], None] = lambda step, values, now: None
    resume: Checkpoint | None = None


@dataclass
class Trained:
    """A trained model in memory (plain, on the device; None on rank 1 and up of a sharded run), its tokenizer and
    encoder, and the curve. `clips`: how many there were to train on; `data_wait_s`: time this rank waited for them."""

    model: Any
    tokenizer: Any
    encoder: Encoder
    curve: list[MetricPoint]
    clips: int = 0
    data_wait_s: float = 0.0


@dataclass(frozen=True)
class Moment:
    """A run between two steps. `tokens`: those that this rank has trained on since it started or resumed, without
    padding; `squared_tokens`: the sum of the squared lengths of their conversations, which attention grows with."""

    step: int
    module: nn.Module
    optimizer: torch.optim.Optimizer
    tokenizer: Any
    encoder: Encoder
    curve: list[MetricPoint]
    tokens: int = 0
    squared_tokens: int = 0

    def checkpoint(self) -> Snapshot:
        """A copy of what the steps to come depend on, as far as this rank saves it."""
        return checkpoint.capture(self.step, self.module, self.optimizer, self.curve)

    @contextmanager
    def trained(self) -> Iterator[Trained]:
        """The model as if the run ended here, to score; afterwards it trains on as if nobody had looked. Raises
        ValueError for a sharded model, of which each rank holds a share."""
        model = parallel.unwrap_model(self.module).model
        generator = torch.get_rng_state()
        model.eval()
        try:
            yield Trained(model, self.tokenizer, self.encoder, self.curve)
        finally:
            model.train()
            torch.set_rng_state(generator)


def encoder_for(recipe: Recipe, model: Any, tokenizer: Any) -> Encoder:
    """The encoder of a recipe's model."""
    family = family_of(model.config)
    system = family.chat.system_prompt if isinstance(recipe.model, HubModel) else None
    positions = model.config.get_text_config().max_position_embeddings
    return Encoder(tokenizer, family, system=system, positions=positions, blind_answers=recipe.blind_answers)


def use_features(
    recipe: Recipe,
    model: Any,
    device: torch.device,
    features: Callable[[FrozenTower], Features] | None,
    *encoders: Encoder,
) -> None:
    """Has the encoders of a stock model take the output of its vision tower from `features` (`Host.features`)."""
    tower = frozen_tower(model, partial(autocast, recipe, device))
    if features is None or tower is None:
        return
    tower.to(device)
    known = features(tower)
    for encoder in encoders:
        encoder.features = known


def batch_plan(n_samples: int, optim: Optim, seed: int, mixture: Mixture | None = None) -> NDArray[np.int64]:
    """Which samples each step sees, [steps, batch]: whole epochs one after another, each in an order drawn from the
    seed and its number alone. An epoch is every sample once, or what a `mixture` of sources says."""
    steps = optim.total_steps
    mixture = mixture or Mixture.even(n_samples)
    order: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    planned = epoch = 0
    while planned < steps * optim.batch:
        rows_N = mixture.epoch(epoch)
        order.append(rows_N[np.random.default_rng([seed, epoch]).permutation(len(rows_N))])
        planned, epoch = planned + len(rows_N), epoch + 1
    return np.concatenate(order)[: steps * optim.batch].reshape(steps, optim.batch)


def reading_plan(keys: Sequence[str], recipe: Recipe, rank: int, world: int) -> NDArray[np.int64]:
    """Numbers of the clips that a rank reads at each step, [steps, batch ÷ world], out of the recipe's fraction."""
    chosen = subset(keys, recipe.data.fraction)
    if not len(chosen):
        raise ValueError(f"no clips to train on: {len(keys)} clips, of which data.fraction is {recipe.data.fraction}")
    mixture = sources.mixture([keys[i] for i in chosen], recipe.data)
    return chosen[batch_plan(len(chosen), recipe.optim, recipe.seed, mixture)][:, rank::world]


def learning_rate(step: int, optim: Optim) -> float:
    """Linear warm-up, then cosine to `final_lr_fraction`; `step` counts from 0."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, optim.total_steps - optim.warmup_steps)
    low = optim.final_lr_fraction
    return optim.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    recipe: Recipe, clips: Clips | Sequence[Clip], *, init_dir: Path | None = None, host: Host | None = None
) -> Trained:
    """Train a recipe on clips (the fraction of them that its data states), from `init_dir` (a folder written by
    `swim.models.save`) or from fresh weights.

    Raises ValueError when the batch does not divide over the ranks, options of the host exclude each other, there is
    nothing to train on or nothing to shard over, or a checkpoint is not whole or of another model; FloatingPointError
    when a loss or its gradient is no longer finite.
    """
    host = host or Host()
    rank, world = parallel.ranks()
    source = sources.without_text_masks(as_clips(clips), recipe.data)
    recipe = sources.with_steps(recipe, source.keys)
    if recipe.optim.batch % world:
        raise ValueError(f"optim.batch {recipe.optim.batch} does not divide over {world} workers")
    if host.micro_tokens and (host.micro_batch or host.shard):
        raise ValueError(
            "micro_tokens goes with neither micro_batch, which says the same in conversations, nor shard, where all "
            "ranks must make equally many forward passes: leave one out"
        )
    plan = reading_plan(source.keys, recipe, rank, world)
    done = host.resume.step if host.resume else 0
    with deterministic(recipe.seed):
        model, tokenizer = models.build(recipe.model, init_dir)
        encoder = encoder_for(recipe, model, tokenizer)
        # A tokenizer of its own: in one that two threads use, a call changes settings that the other relies on.
        ahead = encoder_for(recipe, model, copy.deepcopy(tokenizer))
        prepare_vision(stock(model), host.device, host.shard)
        use_features(recipe, stock(model), host.device, host.features, encoder, ahead)  # of a tower that is whole
        module = parallel.wrap_model(
            SupervisedModel(model.train(), recipe.objective), host.device, host.shard, host.sharding
        )
        batches = step_batches(
            recipe,
            source.read(plan[done:].ravel().tolist()),
            ahead,
            stock(model),
            steps=len(plan) - done,
            share=plan.shape[1],
            micro_batch=host.micro_batch,
            micro_tokens=host.micro_tokens,
            device=_numbered(host.device),
        )
        compiled = host.compiled and host.device.type == "cuda"
        with Prefetch(batches) as feed, compiled_elementwise(model) if compiled else nullcontext():
            curve = _fit(recipe, feed, module, tokenizer, encoder, host)
        waited_s = feed.waited_s
        del feed, batches
        if (state := parallel.whole_state(module)) is not None:
            # A device that held a share is about to hold the whole: the share and its cyclic references go first.
            del module, model
            gc.collect()
            model = _whole(recipe, init_dir, state, host.device) if rank == 0 else None
        if model is not None:
            model.eval()
        kept = len(subset(source.keys, recipe.data.fraction))
        return Trained(model, tokenizer, encoder, curve, clips=kept, data_wait_s=waited_s)


def _numbered(device: torch.device) -> torch.device:
    """The device with its number: "cuda" is this thread's own GPU, and another one in a thread that has none."""
    return (
        torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device
    )


def _whole(recipe: Recipe, init_dir: Path | None, state: dict[str, Any], device: torch.device) -> Any:
    model, _ = models.build(recipe.model, init_dir)
    SupervisedModel(model, recipe.objective).load_state_dict(state)
    prepare_vision(stock(model), device)
    return model.to(device)


def _fit(
    recipe: Recipe, feed: Iterator[list[Batch]], module: nn.Module, tokenizer: Any, encoder: Encoder, host: Host
) -> list[MetricPoint]:
    optim = recipe.optim
    optimizer = build_optimizer(module.parameters(), optim)
    curve: list[MetricPoint] = []
    done = tokens = squared_tokens = 0
    if host.resume:
        checkpoint.restore(host.resume, module, optimizer)
        done, curve = host.resume.step, list(host.resume.curve)
    else:
        host.on_start(Moment(0, module, optimizer, tokenizer, encoder, curve))
    for step in range(done, optim.total_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, optim)
        weight = mask_weight(recipe.objective, (step + 1) / optim.total_steps)
        batches = next(feed)
        values = optimiser_step(module, optimizer, batches, recipe, weight, host.device)
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                raise FloatingPointError(f"{name} is {values[name]} at step {step + 1} of {recipe.name!r}")
        curve += [MetricPoint(step=step + 1, name=name, value=value) for name, value in values.items()]
        lengths = [len(sample.input_ids_L) for batch in batches for sample in batch.samples]
        tokens, squared_tokens = tokens + sum(lengths), squared_tokens + sum(length**2 for length in lengths)
        now = Moment(step + 1, module, optimizer, tokenizer, encoder, curve, tokens, squared_tokens)
        host.on_step(step + 1, values, now)
    return curve


def optimiser_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: list[Batch],
    recipe: Recipe,
    mask_weight: float,
    device: torch.device | None = None,
) -> dict[str, float]:
    """One optimiser step over a rank's micro-batches. Every loss is its global sum ÷ its global count.

    Each micro-batch is sent to the device (default: where the first one is) when its turn comes. The host reads from
    the device once, at the end: until then it runs ahead of it.
    """
    objective, (_, world) = recipe.objective, parallel.ranks()
    device = device or batches[0].labels_BL.device
    text_count, mask_count, unsupervised = global_counts(batches, objective, world, device)
    text_count, mask_count = max(1, text_count), max(1, mask_count)
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, device=device)
    for i, batch in enumerate(batches):
        on_device = batch.to(device)
        with parallel.gradient_sync(module, last=i == len(batches) - 1):
            with autocast(recipe, device):
                losses = module(on_device.inputs, on_device.labels_BL, on_device.nouns, on_device.plan)
            loss = objective.text_weight * losses.text_sum / text_count + mask_weight * losses.mask_sum / mask_count
            # The mean over ranks that copies and shares of a model take is turned back into a sum.
            (loss * world).backward()
        sums += torch.stack([losses.text_sum.detach(), losses.mask_sum.detach()])
    if world > 1:
        dist.all_reduce(sums)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    grad_norm = parallel.clip_gradients(parameters, recipe.optim.clip_norm)
    lr = optimizer.param_groups[0]["lr"]
    optimizer.step()
    text_sum, mask_sum, norm = torch.stack([*sums, grad_norm.to(sums)]).tolist()
    text, mask = text_sum / text_count, mask_sum / mask_count
    values = {
        "loss": objective.text_weight * text + mask_weight * mask,
        "text_loss": text,
        "mask_loss": mask,
        "grad_norm": norm,
        "lr": lr,
    }
    return values | ({"unsupervised_clips": float(unsupervised)} if unsupervised else {})


def global_counts(
    batches: list[Batch], objective: Objective, world: int, device: torch.device | None = None
) -> tuple[int, int, int]:
    """Label tokens, supervised maps, and the clips with masks that have no supervised map under this objective (no
    other object, no slot in an answer), of the optimiser batch, over all micro-batches and ranks."""
    text = sum(int((b.labels_BL[:, 1:] != IGNORE).sum()) if b.plan is None else len(b.plan.kept_N) for b in batches)
    maps = unsupervised = 0
    if objective.mask_weight > 0:
        of_clips = [
            count_maps(sample.nouns, objective, sample.family.frames_per_patch)
            for batch in batches
            for sample in batch.samples
            if sample.nouns
        ]
        maps, unsupervised = sum(of_clips), of_clips.count(0)
    if world > 1:
        counts = torch.tensor([text, maps, unsupervised], device=device or batches[0].labels_BL.device)
        dist.all_reduce(counts)
        text, maps, unsupervised = counts.tolist()
    return text, maps, unsupervised


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """What a recipe's forward passes run under: bf16 where its model says so and its weights are fp32."""
    model = recipe.model
    wanted = isinstance(model, HubModel) and model.dtype == "bfloat16" and model.weights == "float32"
    # The cache would keep a bf16 copy of every trained weight until the forward pass ends (15 GB for 7B), also where
    # checkpointing or sharding let the layer go; without it one layer's is held.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted, cache_enabled=False)
