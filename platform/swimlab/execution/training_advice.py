"""What to do about a training that ran out of memory or diverged: outcomes of a plan, said without a traceback."""

from __future__ import annotations

from swim.recipe import HubModel, Recipe
from swimlab.execution import resume_points
from swimlab.execution.cluster import Slots
from swimlab.execution.faults import DIVERGED, OUT_OF_MEMORY, TrainingEnded, kind_of, telling
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.paths import folder_of
from swimlab.store.sweep_store import SweepStore


def explained(
    error: Exception, spec: TrialSpec, store: SweepStore, slots: Slots, micro_batch: int | None
) -> TrainingEnded | None:
    """What to raise in place of an error of the training; None for an error of another kind."""
    kind = kind_of(error)
    if kind == OUT_OF_MEMORY:
        lines = _smaller_plan(spec.recipe, slots, micro_batch), _smaller_recipe(spec.recipe)
        advice = "; ".join(line for line in lines if line)
    elif kind == DIVERGED:
        optim = spec.recipe.optim
        advice = (
            f"lower optim.lr (now {optim.lr:g}), raise optim.warmup_steps (now {optim.warmup_steps}) or lower "
            f"optim.clip_norm (now {optim.clip_norm:g}); {_last_saved(spec, store)}"
        )
    else:
        return None
    raised = telling(error, kind)
    what = str(raised).strip().partition("\n")[0].rstrip(".") or type(raised).__name__
    return TrainingEnded(f"{kind}: {what}: {advice}")


def _smaller_plan(recipe: Recipe, slots: Slots, micro_batch: int | None) -> str:
    """Flags that need less memory and train the same trial."""
    hub = isinstance(recipe.model, HubModel)
    share = recipe.optim.batch // max(1, slots.workers)
    size = min(share, micro_batch or (1 if hub else share))
    flags = [f"--micro-batch {size // 2} (now {size})"] if size > 1 else []
    if slots.at_a_time > 1 and "GPU" not in slots.worker:
        flags.append(f"--concurrency {slots.at_a_time - 1} (now {slots.at_a_time})")
    if hub:
        flags.append("more --workers" if slots.shard else "--shard with as many --workers as there are GPUs")
    return "run it with " + ", or ".join(flags) if flags else ""


def _smaller_recipe(recipe: Recipe) -> str:
    """Changes of the recipe that need less memory; each makes another trial."""
    frames, model = recipe.data.frames, recipe.model
    text = f"change the recipe: lower data.frames.max_frames (now {frames.max_frames})"
    text += f" or data.frames.max_pixels (now {frames.max_pixels})"
    if isinstance(model, HubModel):
        if not model.gradient_checkpointing:
            text += ", set model.gradient_checkpointing=true"
        elif model.unchecked_layers:
            text += f", lower model.unchecked_layers (now {model.unchecked_layers})"
        if model.lora is None:
            text += ", train adapters (model.lora, as qwen2.5-vl-7b-lora does)"
    return text


def _last_saved(spec: TrialSpec, store: SweepStore) -> str:
    saved = resume_points.saved_steps(store.backend, spec.trial_id)
    if not saved:
        return "no step of it was saved"
    step, number = saved[0]
    return f"its last saved step, {step}, is in {store.uri}/{folder_of(spec.trial_id, number)}/steps/{step}"
