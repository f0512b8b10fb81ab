"""A folder to run the README in: a copy of the repository, an environment, small recipes, and somebody's own data."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import readme_driver
from llm_server import Model
from ray_cluster import clean_copy, end_family, venv_without_swimlab
from readme_entries import PRINTED, Run
from readme_table import TABLE

import nano
from swim.data.nl_refer import reference_rows
from swim.data.synthetic import shapes_world
from swim.recipe import Recipe, ShapesWorld
from swim.recipes import DESCRIBED, tiny_files

REPO = Path(__file__).resolve().parents[2]
CLIPS, STEPS = 8, 2
COMMAND_S = 900.0  # patience with a hung command, on a machine that other work may fill


class Lab:
    """Runs table entries, each once, with those that must come before."""

    def __init__(self, folder: Path, home: Path, llm: str) -> None:
        self.folder, self.home, self.llm = folder, home, llm
        self.results: dict[tuple[str, int], tuple[int, str]] = {}

    def result(self, text: str, number: int = 0) -> tuple[int, str]:
        """(exit code, output) of the `number`-th way to run a printed text."""
        if (text, number) not in self.results:
            way = TABLE[text][number]
            for before in way.after:
                code, output = self.result(*before)
                assert code == TABLE[before[0]][before[1]].code, f"{before[0]}\n{output}"
            self.results[text, number] = self.shell(self.filled(self.line_of(text, way)), self.variables(way))
        return self.results[text, number]

    def line_of(self, text: str, way: Run) -> str:
        for piece, instead in way.put.items():
            assert piece in text, f"{piece!r} is no part of {text!r}"
            text = text.replace(piece, instead)
        return way.command_line.replace(PRINTED, text)

    def filled(self, text: str) -> str:
        if "{trial_" in text:
            arms = pq.read_table(self.folder / "swimlab-store" / "tables" / "arms").to_pylist()
            for row in arms:
                if row["experiment"] == "fusion":
                    text = text.replace(f"{{trial_{row['arm']}}}", row["trial_id"][:8])
        names = {"llm": self.llm, "python": sys.executable, "repo": str(REPO)}
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def variables(self, way: Run) -> dict[str, str]:
        return {name: self.filled(value) for name, value in way.env.items()}

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's Ray, settings, Python path or home."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SWIMLAB_", "PY", "VIRTUAL_ENV"))}
        own = {"HOME": str(self.home), "RAY_TMPDIR": str(self.home.parent), "RAY_USAGE_STATS_ENABLED": "0"}
        return kept | own | {"OPENAI_API_KEY": "sk-nobody", "NO_PROXY": "127.0.0.1"}

    def shell(self, line: str, variables: dict[str, str]) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", f"source .venv/bin/activate\n{line}"],
            cwd=self.folder,
            env=self.environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        return done.returncode, done.stdout


@contextmanager
def lab(*, warm: bool, swept: Path | None = None) -> Iterator[Lab]:
    """`warm`: Python commands share a process and a Ray (see `readme_driver`); else each has its own, as a user's.
    `swept`: a store to begin with (the fixture of that name)."""
    with TemporaryDirectory(prefix="lab", ignore_cleanup_errors=True) as short, ExitStack() as stack:
        folder, home = Path(short) / "swim", Path(short) / "home"
        home.mkdir()
        clean_copy(folder)
        bin_dir = environment(folder)
        own_files(folder)
        if swept:
            shutil.copytree(swept, folder / "swimlab-store")
        # Before anything runs: a process knows the losses that it found when it first looked.
        for text, ways in TABLE.items():
            for way in ways if isinstance(ways, tuple) else ():
                if way.file:
                    (folder / way.file).write_text(way.body.replace(PRINTED, text))
        found = Lab(folder, home, stack.enter_context(Model()).url)
        if warm:
            stack.enter_context(_driver(found, bin_dir, Path(short) / "driver"))
        yield found


def environment(folder: Path) -> Path:
    """`.venv` as set-up leaves it, but with the packages of the environment that runs the tests. Returns its bin."""
    bin_dir = venv_without_swimlab(folder / ".venv")
    packages = next((folder / ".venv").glob("lib/python3*/site-packages"))
    (packages / "editable.pth").write_text(f"{folder}\n{folder / 'platform'}\n")
    script(bin_dir / "swimlab", f"#!{bin_dir}/python\nfrom swimlab.__main__ import main\nmain()\n")
    for tool in ("ruff", "mypy", "lint-imports"):
        shutil.copy(Path(sys.executable).parent / tool, bin_dir / tool)
    (folder / ".venv" / ".ready").touch()  # make's stamp: set-up is done
    return bin_dir


def small() -> Recipe:
    """`nano.json`. Its name is the one that the snippets about Table 4 ask for."""
    recipe = nano.recipe(steps=STEPS, base=False)
    return recipe.override({"name": "tiny-hard-look", "evaluation": dict(recipe.evaluation) | DESCRIBED})


def own_files(folder: Path) -> None:
    """The recipes that the table names, and annotations and clips of the user's own."""
    (folder / "nano.json").write_text(small().model_dump_json())
    files = tiny_files().override({"model": nano.SHAPE, "optim.steps": STEPS})
    (folder / "nano-files.json").write_text(files.model_dump_json())
    rows = shapes_world.write(ShapesWorld(clips=CLIPS, held_out=1), "train", range(CLIPS), folder / "my" / "clips")
    (folder / "my" / "rows.json").write_text(json.dumps(rows))
    placeholders = [one.raw for one in reference_rows.rows(CLIPS) if one.group == "distinct"]
    (folder / "my" / "videorefer.json").write_text(json.dumps(placeholders))


@contextmanager
def _driver(found: Lab, bin_dir: Path, address: Path) -> Iterator[None]:
    python, client = bin_dir / "python3", bin_dir / "client"
    (bin_dir / "python").unlink()
    for path, program in ((client, "python"), (bin_dir / "swimlab", "swimlab")):
        text = readme_driver.CLIENT.format(python=python, address=str(address), program=repr(program))
        script(path, text)
    script(bin_dir / "python", readme_driver.PYTHON.format(python=python, client=client))
    process = subprocess.Popen(
        [python, readme_driver.__file__, address], cwd=found.folder, env=found.environment(), start_new_session=True
    )
    try:
        while not address.exists():
            assert process.poll() is None, "the driver did not start"
            time.sleep(0.05)
        yield
    finally:
        end_family(process)


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
