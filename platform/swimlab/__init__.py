"""How SWIM experiments are run: Ray Data, Ray Train, Ray Tune, the sweep store, verdicts and reports.

The public names are those of an experiment file; importing them starts neither Ray nor torch.
"""

from swimlab.ablation import Ablation, Arm, Axis, Metric, Paper
from swimlab.claims import Above, Better, NotWorse, Trend
from swimlab.search import Choice, Float, Int, Pruning, Search
from swimlab.tuning import Tuned

__all__ = [
    "Ablation",
    "Above",
    "Arm",
    "Axis",
    "Better",
    "Choice",
    "Float",
    "Int",
    "Metric",
    "NotWorse",
    "Paper",
    "Pruning",
    "Search",
    "Trend",
    "Tuned",
]
