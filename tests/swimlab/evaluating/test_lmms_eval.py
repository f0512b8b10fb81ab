"""lmms-eval itself scores an exported trial on a task of our own. Its imports take 25 s of CPU a run."""

import json
import textwrap
from pathlib import Path

import pytest
from answering_kit import commit_trial

from swim.data.synthetic import shapes_world
from swim.recipe import ShapesWorld
from swimlab.evaluating.lmms import environment, measure, runs
from swimlab.evaluating.lmms.runs import GeneralTask, Where
from swimlab.store.sweep_store import SweepStore

PYTHON = Path(__file__).parents[3] / ".venv-lmms" / "bin" / "python"
NEEDS_LMMS = pytest.mark.skipif(not PYTHON.exists(), reason="lmms-eval's environment is not there: `make lmms-env`")
YAML = """
task: shapes_local
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
cluster_key: video
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: answer
generation_kwargs: {max_new_tokens: 4, temperature: 0, do_sample: false}
process_results: !function utils.process_results
metric_list:
  - {metric: exact, aggregation: !function utils.mean, higher_is_better: true}
"""
UTILS = """
def doc_to_visual(doc):
    return [doc["video"]]

def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def process_results(doc, results):
    return {"exact": {"score": float(len(results[0].split()) > doc["more_than"]), "video": doc["video"]}}

def mean(items):
    return sum(item["score"] for item in items) / len(items)
"""


def local_task(folder: Path) -> Path:
    """A task about two drawn videos: four questions, of which every answer passes two and none the others."""
    rows = shapes_world.write(ShapesWorld(clips=2, held_out=1), "train", range(2), folder)
    asked = [
        {"video": str(folder / row["video"]), "question": "Describe the lemon.", "answer": "a", "more_than": more}
        for row in rows
        for more in (-1, 99)
    ]
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "rows.json").write_text(json.dumps(asked))
    (tasks / "shapes_local.yaml").write_text(YAML.replace("ROWS", str(tasks / "rows.json")))
    (tasks / "utils.py").write_text(textwrap.dedent(UTILS))
    return tasks


@NEEDS_LMMS
@pytest.mark.slow
def test_an_exported_trial_is_scored_by_lmms_eval_on_a_local_task(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path / "store"))
    trial, tasks = commit_trial(store), local_task(tmp_path)
    found = environment.probe(PYTHON)
    task = GeneralTask(
        task="shapes_local",
        lmms_eval=found.version,
        backend="qwen2_5_vl",
        model_args={"max_num_frames": 4, "min_pixels": 4096, "max_pixels": 16384},
        include=runs.include_hash(tasks),
    )
    where = Where(found, tmp_path / "hf", gpu=False, include_path=tasks)
    scores = measure.measure(trial, task, store, where)
    assert scores.metrics["shapes_local.avg"] == scores.metrics["shapes_local.reported"] == 0.5
    assert scores.metrics["shapes_local.asked"] == 4
    assert sorted(Path(video).name for video in set(scores.videos.values())) == ["train_000000.mp4", "train_000001.mp4"]
    run = runs.load(store, runs.run_id(store.evaluations()[scores.evaluation_id].target, task))
    assert run is not None
    assert run.results["config"]["resolved_cli_args"]["tasks"] == "shapes_local"
    assert run.numerics["engine"] == f"lmms-eval {found.version}: lmms_eval.models.chat.qwen2_5_vl.Qwen2_5_VL (chat)"
    # What the reader does not count on: lmms-eval hashes none of the rows.
    hashes = {row["doc_hash"] for row in measure.read_samples(runs.read_file(store, run, run.samples["shapes_local"]))}
    assert len(hashes) == 1
