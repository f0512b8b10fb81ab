"""Adding a loss is one file: the registry finds it, a recipe may name it, and it trains."""

import pytest

from swim import registry
from swim.code_roots import code_roots
from swim.supervision import losses
from swim.train import train

HUBER = """
import torch.nn.functional as F


def mask_loss(map_PHW, mask_PHW):
    return F.huber_loss(map_PHW, mask_PHW, reduction="none").mean((1, 2))
"""
# Its value is 0, its gradient 0 · ∞.
POISON = """
def mask_loss(map_PHW, mask_PHW):
    return (map_PHW * 0).sum((1, 2)).sqrt()
"""


@pytest.fixture
def _new_losses(tmp_path, monkeypatch):
    (tmp_path / "soft_huber.py").write_text(HUBER)
    (tmp_path / "poison.py").write_text(POISON)
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    registry.names.cache_clear()
    yield
    registry.names.cache_clear()


@pytest.mark.usefixtures("_new_losses")
def test_one_new_file_is_a_new_loss(nano, clips):
    recipe = nano.override({"objective.mask_loss": "soft-huber", "optim.steps": 1})
    assert "swim.supervision.losses.soft_huber" in code_roots(recipe)
    assert "swim.supervision.losses.soft_huber" not in code_roots(nano)
    trained = train(recipe, clips)
    values = {point.name: point.value for point in trained.curve}
    assert 0 < values["mask_loss"] < 0.1
    assert values["grad_norm"] > 0


@pytest.mark.usefixtures("_new_losses")
def test_a_gradient_that_is_no_number_stops_the_run_although_the_loss_is_fine(nano, clips):
    with pytest.raises(FloatingPointError, match="grad_norm is nan at step 1"):
        train(nano.override({"objective.mask_loss": "poison", "optim.steps": 1}), clips)


def test_a_loss_that_nobody_wrote_is_unknown(nano):
    with pytest.raises(ValueError, match="no 'soft-huber'"):
        nano.override({"objective.mask_loss": "soft-huber"})
