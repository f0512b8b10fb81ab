"""What the README promises: its files exist, four links lead from an experiment to the loss. (Its snippets are run on a
real sweep's store in test_sweep.py.)"""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text()


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_from_experiment_to_loss_is_four_links() -> None:
    links = re.findall(r"\[`(\w+)`\]\(([\w/.]+)\)", section("From experiment to loss"))
    assert len(links) == 5
    for name, path in links:
        defined = {getattr(node, "name", "") for node in ast.walk(ast.parse((REPO / path).read_text()))}
        assigned = re.search(rf"^{name} = ", (REPO / path).read_text(), re.MULTILINE)
        assert name in defined or assigned, f"{path} defines no {name}"
    # Each file names what the next one defines; the first reaches the loop through `main`, the last is chosen by name.
    for (_, here), (name, _) in list(pairwise(links))[1:]:
        assert name in (REPO / here).read_text(), f"{here} does not lead to {name}"


def test_the_experiment_of_ones_own_runs_as_printed(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", section("An experiment of your own"), re.DOTALL)[:1]
    (tmp_path / "weight_by_layers.py").write_text(snippet)
    line = [sys.executable, "weight_by_layers.py", "plan", "--cache", "cache"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 to run" in done.stdout  # six arms, three seeds, and the two that they start from


def test_every_file_the_readme_names_exists() -> None:
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (REPO / path).exists(), path
