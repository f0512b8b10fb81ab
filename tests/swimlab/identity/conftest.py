import shutil
from pathlib import Path

import pytest

from swimlab.identity import source_closure


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the package that a test may edit."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source_closure.SOURCE_ROOT / "swim", tmp_path / "root" / "swim", ignore=ignore)
    return tmp_path / "root"
