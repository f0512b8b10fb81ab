"""Tokens a second, model FLOP/s and MFU, from what a run tells of its steps."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model

from swim import models
from swim.recipe import Lora, Objective, TinyModel
from swim.recipes import TINY_LAYERS
from swim.supervision.objective import SupervisedModel
from swim.train import Moment
from swimlab.execution import speed
from swimlab.execution.speed import SpeedMeter, StepFlops
from swimlab.experiment.cards import CARDS

SHAPE = TinyModel()
MATRICES = 4 * (2 * 128 * (128 + 64) + 3 * 128 * 256)


@pytest.fixture(scope="module")
def module() -> SupervisedModel:
    return SupervisedModel(models.build(SHAPE)[0], Objective(layers=TINY_LAYERS))


def test_the_operations_are_those_of_the_text_towers_weights(module: SupervisedModel) -> None:
    flops = StepFlops.of(module)
    assert flops == StepFlops(6.0 * MATRICES, 6.0 * 4 * 128)
    wrapped = torch.nn.Module()
    wrapped.module = module
    assert StepFlops.of(wrapped) == flops


def test_adapters_spare_the_gradients_of_the_weights() -> None:
    model, _ = models.build(SHAPE)
    lora = Lora(rank=2)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=rf".*language_model.*\.({'|'.join(lora.targets)})"))
    flops = StepFlops.of(SupervisedModel(adapted, Objective(layers=TINY_LAYERS)))
    adapters = 4 * 2 * (2 * 256 + 2 * (128 + 64))
    assert flops.a_token == 4.0 * MATRICES + 6.0 * adapters


def test_the_first_step_and_what_the_host_does_are_not_counted(
    module: SupervisedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 13.0, 20.0])
    meter = SpeedMeter(torch.device("cpu"), world=2, clock=lambda: next(clock))
    moment = Moment(1, module, None, None, None, [], tokens=100, squared_tokens=5000)  # type: ignore[arg-type]
    assert meter.speed is None
    meter.step(moment, hosted_s=0.0)
    assert meter.speed is None
    meter.step(replace(moment, tokens=300, squared_tokens=15_000), hosted_s=1.0)
    meter.step(replace(moment, tokens=500, squared_tokens=25_000), hosted_s=2.0)
    measured = meter.speed
    assert measured is not None
    # 400 tokens in 10 s, of which 2 were not training, on each of two workers.
    assert measured.tokens_per_s == pytest.approx(2 * 400 / 8)
    flops = StepFlops.of(module)
    assert measured.model_flops_per_s == pytest.approx((400 * flops.a_token + 20_000 * flops.a_squared_token) / 8)
    assert measured.mfu is None


def test_mfu_is_the_share_of_a_known_cards_peak(module: SupervisedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    clock = iter([0.0, 1.0])
    meter = SpeedMeter(torch.device("cuda"), world=1, clock=lambda: next(clock))
    moment = Moment(1, module, None, None, None, [], tokens=0)  # type: ignore[arg-type]
    meter.step(moment, 0.0)
    meter.step(replace(moment, tokens=1000), 0.0)
    assert meter.speed is not None
    assert meter.speed.mfu == pytest.approx(1000 * 6 * MATRICES / CARDS["H200"].flops_per_s)
