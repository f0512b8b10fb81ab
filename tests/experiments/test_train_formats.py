"""Rows as other tools keep them, trained on by one command through Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_format_coco_video
import test_format_mevis
import test_format_ms_swift
from format_kit import dump, write_pictures, write_videos

import nano
from swim.recipes import tiny_files
from swimlab.store.sweep_store import SweepStore

REPO = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.ray
def test_three_formats_train_in_one_run(tmp_path: Path) -> None:
    media = write_pictures(write_videos(tmp_path / "media"))
    files = [
        dump(tmp_path / "swift.json", [test_format_ms_swift.row(name) for name in test_format_ms_swift.NAMES]),
        dump(tmp_path / "instances.json", test_format_coco_video.content()),
        test_format_mevis.write(tmp_path / "mevis"),
    ]
    recipe = tiny_files().override({"model": nano.SHAPE, "optim.steps": 3, "optim.batch": 3})
    (tmp_path / "nano-files.json").write_text(recipe.model_dump_json())
    flags = {
        "annotations": json.dumps([str(file) for file in files]),
        "videos": media,
        "recipe": tmp_path / "nano-files.json",
        "formats": json.dumps(["ms-swift", "coco-video", "mevis"]),
        "store": tmp_path / "store",
        "cache": tmp_path / "cache",
    }
    command = [sys.executable, REPO / "experiments/train.py", "run"]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"RAY_ADDRESS": "local"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = SweepStore(str(tmp_path / "store")).records().values()
    assert record.metrics["train.clips"] == 9
    assert record.metrics["train.mask_loss"] > 0
