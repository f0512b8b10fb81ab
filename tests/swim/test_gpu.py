"""The same code on a CUDA device: skipped, with the reason, where there is none."""

from collections.abc import Sequence

import pytest
import torch

from swim.data.types import Clip
from swim.evaluation.evaluate import evaluate
from swim.recipes import tiny_smoke
from swim.train import Host, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_a_gpu_trains_as_a_cpu_does(clips: Sequence[Clip]) -> None:
    recipe = tiny_smoke().override({"optim.steps": 5, "optim.batch": 4})
    losses = {}
    for device in ("cpu", "cuda"):
        trained = train(recipe, clips, host=Host(device=torch.device(device)))
        losses[device] = [point.value for point in trained.curve if point.name == "loss"]
        assert evaluate(recipe, trained, clips).metrics["attention.nouns"] > 0
    # TF32 is off by default for matrix products; what is left is the order of sums.
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)
