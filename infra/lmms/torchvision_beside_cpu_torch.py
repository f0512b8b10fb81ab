"""Makes torchvision's wheel importable beside a CPU build of torch, for which there is no build of torchvision.

Its C extension does not load then, and `import torchvision` fails for two operators that nobody registered. Their
schemas alone let it in, without anything that computes them: what processors of transformers need of torchvision is
written in Python. `make lmms-env` puts this file beside torchvision, with a line in a .pth file that imports it when
Python starts, only where `import torchvision` fails.
"""

import importlib.abc
import sys

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []  # a library that is freed takes its schemas with it


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Registers the schemas when torchvision is first looked for: importing torch at every start takes seconds."""

    def find_spec(self, name, path=None, target=None):
        """Finds nothing itself."""
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            from torch import library  # not at the start of every Python of the environment

            operators = library.Library("torchvision", "DEF")
            for schema in SCHEMAS:
                operators.define(schema)
            _kept.append(operators)


sys.meta_path.insert(0, BeforeTorchvision())
