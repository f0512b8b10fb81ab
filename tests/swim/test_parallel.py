"""One optimiser step gives the losses and gradients of one plain fp32 process, however it is computed: layers computed
twice, bf16, adapters, copies (DDP) or shares (FSDP2) of the model on two processes, and all of it together."""

import gc
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from swim import models, parallel
from swim.data.documents import documents
from swim.data.encode import collate
from swim.optimizer import build_optimizer
from swim.recipe import HubModel, Lora, Objective, Optim, Recipe, ShapesWorld, TinyModel
from swim.supervision.attention import AttentionProbe
from swim.supervision.maps import plan_reading
from swim.supervision.objective import SupervisedModel
from swim.train import encoder_for, global_counts, optimiser_step

CPU = torch.device("cpu")
RERUN, ORDER_OF_SUMS, BF16 = 1e-6, 1e-5, 4e-2  # measured: 0, 1e-6, 1.8e-2


@dataclass(frozen=True)
class Way:
    """How a step is computed. `bare`: the clips of the second process have no masks, hence no noun."""

    tolerance: float = ORDER_OF_SUMS
    shard: bool = False
    bare: bool = False
    micro_batch: int = 6
    checkpointing: bool = False
    bf16: bool = False
    lora: bool = False
    bf16_weights: bool = False  # beside fp32 masters
    sharding: parallel.Sharding = parallel.Sharding()  # noqa: RUF009 (frozen)
    own_policy: bool = False  # FSDP2 as a user may apply it, computing in bf16 without autocast


WEIGHTS = Way(BF16, bf16=True, bf16_weights=True)
ALONE = {
    "bf16 weights": WEIGHTS,
    "lora, bf16 weights, checkpointing": replace(WEIGHTS, lora=True, checkpointing=True),
    "checkpointing": Way(RERUN, checkpointing=True),
    "bf16": Way(BF16, bf16=True),
    "lora": Way(lora=True),
    "lora, checkpointing": Way(lora=True, checkpointing=True),
    "lora, bf16, checkpointing": Way(BF16, lora=True, bf16=True, checkpointing=True),
}
TOGETHER = {
    "ddp": Way(),
    "ddp, bf16 weights, micro-batches": replace(WEIGHTS, micro_batch=2),
    "fsdp, bf16 weights, a rank without nouns": replace(WEIGHTS, shard=True, bare=True),
    "fsdp, layers kept": Way(shard=True, micro_batch=2, sharding=parallel.Sharding(reshard=False)),
    "fsdp, on the CPU": Way(shard=True, checkpointing=True, sharding=parallel.Sharding(cpu_offload=True)),
    "ddp, a rank without nouns": Way(bare=True),
    "ddp, micro-batches, checkpointing": Way(micro_batch=2, checkpointing=True),
    "ddp, lora": Way(lora=True, bare=True),
    "ddp, lora, bf16, checkpointing": Way(BF16, bare=True, lora=True, bf16=True, checkpointing=True),
    "fsdp": Way(shard=True),
    "fsdp, a rank without nouns": Way(shard=True, bare=True),
    "fsdp, micro-batches, checkpointing": Way(shard=True, micro_batch=2, checkpointing=True),
    "fsdp, lora": Way(shard=True, lora=True, bare=True),
    "fsdp, lora, bf16, checkpointing": Way(BF16, shard=True, bare=True, lora=True, bf16=True, checkpointing=True),
    "fsdp, its own bf16": Way(BF16, shard=True, own_policy=True, checkpointing=True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def recipe(folder):
    """A tiny model as a checkpoint, its weights rounded to bf16 so that every way starts from the same ones."""
    tiny = TinyModel(hidden=32, layers=3, heads=4, kv_heads=2, intermediate=32, vision_hidden=16, vision_depth=1)
    model, tokenizer = models.build(tiny)
    models.save(model.bfloat16().float(), tokenizer, folder / "base")
    spec = HubModel(path=str(folder / "base"), dtype="float32", layers=3, cell_px=8, gradient_checkpointing=False)
    return Recipe(
        name="nano", model=spec, data=ShapesWorld(), objective=Objective(layers=(0, 2)), optim=Optim(clip_norm=1e9)
    )


@pytest.fixture(scope="module")
def uneven(clips):
    """Conversations of one to three turns, two nouns a turn."""
    return [
        replace(clip, turns=clip.turns[: 1 + i % 3], masks=clip.masks[: 2 + 2 * (i % 3)])
        for i, clip in enumerate(clips)
    ]


def strip(clips, bare):
    return [replace(clip, masks=()) if bare and i % 2 else clip for i, clip in enumerate(clips)]


def built(recipe, way):
    spec = recipe.model.model_copy(
        update={
            "gradient_checkpointing": way.checkpointing,
            "dtype": "bfloat16" if way.bf16 else "float32",
            "weights": "bfloat16" if way.bf16_weights else "float32",
            "lora": Lora(rank=2, alpha=4) if way.lora else None,
        }
    )
    recipe = recipe.override({"model": spec})
    model, tokenizer = models.build(spec)
    for i, (name, parameter) in enumerate(model.named_parameters()):
        if "lora_" in name:  # B starts at zero, which would hide A's gradient
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) / 16
            parameter.data = drawn.to(parameter.dtype)
    return recipe, model.train(), tokenizer


def batches_of(recipe, model, tokenizer, clips, size):
    samples = [encoder_for(recipe, model, tokenizer)(clip) for clip in clips]
    return [collate(samples[i : i + size], tokenizer.pad_token_id) for i in range(0, len(samples), size)]


def gradients(module, dtype):
    found = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            grad = parameter.grad.full_tensor() if isinstance(parameter.grad, DTensor) else parameter.grad
            assert grad.dtype == dtype
            found[name.removeprefix("module.").removeprefix("model.")] = grad.float()
    return found


def step(recipe, way, clips, merge=False):
    """(values, gradients) of one step over this rank's share; `merge` puts the adapters into the weights first."""
    rank, world = parallel.ranks()
    recipe, model, tokenizer = built(recipe, way)
    batches = batches_of(recipe, model, tokenizer, strip(clips, way.bare)[rank::world], way.micro_batch)
    if merge:
        model = model.merge_and_unload().requires_grad_(True)
        model.model.visual.requires_grad_(False)
    module = SupervisedModel(model, recipe.objective)
    if way.own_policy:
        part = partial(fully_shard, mesh=init_device_mesh("cpu", (world,)))
        bf16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        part(model.model.visual)
        for layer in model.get_decoder().layers:
            part(layer, mp_policy=bf16)
        part(module)
    else:
        module = parallel.wrap_model(module, CPU, way.shard, way.sharding)
    optimizer = build_optimizer(module.parameters(), recipe.optim)
    values = optimiser_step(module, optimizer, batches, recipe, recipe.objective.mask_weight)
    if way.shard:
        held = sum(p.to_local().numel() for p in module.parameters())
        assert held < 0.55 * sum(p.numel() for p in module.parameters())
    # The shares of a sharded model are the masters.
    return values, gradients(module, torch.bfloat16 if way.bf16_weights and not way.shard else torch.float32)


def projected(recipe, way, clips):
    """What the adapters' gradients must be: W' = W + s·B·A, so B's is s·G·Aᵀ and A's is s·Bᵀ·G, G being that of W'."""
    values, full = step(recipe, replace(Way(lora=True), bare=way.bare), clips, merge=True)
    _, model, _ = built(recipe, Way(lora=True))
    found = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            a, b, s = module.lora_A["default"].weight, module.lora_B["default"].weight, module.scaling["default"]
            prefix = f"base_model.model.{name}"
            found[f"{prefix}.lora_A.default.weight"] = s * b.detach().T @ full[f"{name}.weight"]
            found[f"{prefix}.lora_B.default.weight"] = s * full[f"{name}.weight"] @ a.detach().T
    return values, found


@pytest.fixture(scope="module")
def plain(recipe, uneven):
    """What every way is measured by: one process, fp32, nothing recomputed; adapters by hand."""
    found = {}

    def of(way):
        key = (way.lora, way.bare)
        if key not in found:
            found[key] = projected(recipe, way, uneven) if way.lora else step(recipe, Way(bare=way.bare), uneven)
        return found[key]

    return of


def check(ours, theirs, tolerance):
    (values, grads), (wanted, reference) = ours, theirs
    for name in ("loss", "text_loss", "mask_loss"):
        assert values[name] == pytest.approx(wanted[name], rel=min(tolerance, 1e-4)), name
    assert grads.keys() == reference.keys()
    norm = torch.cat([grad.flatten() for grad in reference.values()]).norm()
    assert values["grad_norm"] == pytest.approx(float(norm), rel=tolerance)
    off = {name: float((grads[name] - g).norm() / max(g.norm(), 1e-3 * norm)) for name, g in reference.items()}
    assert max(off.values()) <= tolerance, max(off, key=off.__getitem__)
    assert all(g.norm() > 0 for g in grads.values())


@pytest.mark.parametrize("name", ALONE)
def test_one_process_however_it_computes(recipe, uneven, plain, name):
    check(step(recipe, ALONE[name], uneven), plain(ALONE[name]), ALONE[name].tolerance)


def worker(rank, folder, recipe, clips):
    for name, way in TOGETHER.items():
        found = step(recipe, way, clips)
        if rank == 0:
            torch.save(found, Path(folder) / f"{name}.pt")


@pytest.fixture(scope="module")
def together(folder, recipe, uneven, two_ranks):
    two_ranks(worker, folder, recipe, uneven)
    return folder


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_however_they_compute(together, plain, name):
    check(torch.load(together / f"{name}.pt"), plain(TOGETHER[name]), TOGETHER[name].tolerance)


def test_maps_are_fp32_when_the_model_computes_in_bf16(recipe, uneven, monkeypatch):
    recipe, model, tokenizer = built(recipe, Way(bf16=True))
    (batch,) = batches_of(recipe, model, tokenizer, uneven, 6)
    supervised, seen = SupervisedModel(model, recipe.objective), {}
    read = AttentionProbe.read

    def watched(probe, layer, query_BHLD, key_BGLD, scaling):
        seen[layer] = query_BHLD, key_BGLD, scaling
        read(probe, layer, query_BHLD, key_BGLD, scaling)

    monkeypatch.setattr(AttentionProbe, "read", watched)
    reading = plan_reading(documents(model.config, batch.inputs), batch.nouns, recipe.objective, model, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = supervised(batch.inputs, batch.labels_BL, batch.nouns)
        model.model(**batch.inputs, use_cache=False, probe=reading.probe)
    assert losses.mask_sum.dtype == losses.text_sum.dtype == torch.float32
    assert (losses.text_count, losses.mask_count, 0) == global_counts([batch], recipe.objective, 1)
    for layer, a_NRK in zip(reading.probe.layers, reading.probe.stacked_SNRK(), strict=True):
        assert a_NRK.dtype == torch.float32
        query_BHLD, key_BGLD, scaling = seen[layer]
        for n, columns_K in enumerate(reading.probe.columns_NK):
            query_HRD = query_BHLD[n][:, reading.probe.rows_NR[n]].double()
            key_HKD = key_BGLD[n][:, columns_K].double().repeat_interleave(2, 0)  # two query heads share one
            exact_RK = (query_HRD @ key_HKD.mT * scaling).softmax(-1).mean(0)
            torch.testing.assert_close(a_NRK[n], exact_RK.float(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_leaves_nothing_to_the_garbage_collector(recipe, uneven, checkpointing):
    recipe, model, tokenizer = built(recipe, Way(checkpointing=checkpointing))
    (batch,) = batches_of(recipe, model, tokenizer, uneven[:2], 2)
    supervised = SupervisedModel(model, recipe.objective)

    def probes():
        return {id(found) for found in gc.get_objects() if isinstance(found, AttentionProbe)}

    gc.collect()
    gc.disable()
    try:
        others = probes()  # what earlier tests left, in a traceback for instance
        supervised(batch.inputs, batch.labels_BL, batch.nouns).mask_sum.backward()
        assert probes() <= others
    finally:
        gc.enable()


def test_reentrant_checkpointing_is_refused_before_and_after_the_probe_is_attached(nano, stock, batch_of, clips):
    reentrant = {"use_reentrant": True}
    stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs=reentrant)
    with pytest.raises(ValueError, match="reentrant gradient checkpointing drops the attention gradient"):
        SupervisedModel(stock, nano.objective)
    stock.gradient_checkpointing_disable()
    supervised = SupervisedModel(stock, nano.objective).train()
    stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs=reentrant)
    batch = batch_of(clips[0])
    with pytest.raises(RuntimeError, match="carries no gradient: gradient checkpointing is reentrant"):
        supervised(batch.inputs, batch.labels_BL, batch.nouns)


def test_a_model_cannot_be_sharded_over_no_process_group(nano, model):
    with pytest.raises(ValueError, match="sharded over a process group, and there is none"):
        parallel.wrap_model(SupervisedModel(model, nano.objective), CPU, shard=True)
