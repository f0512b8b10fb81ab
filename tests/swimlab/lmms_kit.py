"""Files in the layout of lmms-eval 0.7.3, and a program that stands where its Python does and writes them."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

STAMP = "20261128_140000"
# Of every row, whatever it is about.
DOC_HASH = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"


def row(number: int, prompt: str, answer: str, metric: str, score: Any, target: str = "B") -> dict[str, Any]:
    """A line of a samples file."""
    return {
        "doc_id": number,
        "target": target,
        "filtered_resps": answer,
        "token_counts": [{"output_tokens": 1}],
        "doc_hash": DOC_HASH,
        metric: score,
        "input": prompt,
    }


def videomme(number: int, video: str, right: bool) -> dict[str, Any]:
    """A row of VideoMME about a video."""
    score = {"question_id": f"{number}-1", "pred_answer": "B", "answer": "B" if right else "C", "score": float(right)}
    return row(number, f"Question {number}?", "B", "videomme_perception_score", score | {"videoID": video})


def mvbench(number: int, answer: str, right: bool) -> dict[str, Any]:
    """A row of one of MVBench's tasks; what it is about is asked of many videos."""
    return row(
        number,
        "What is done?",
        answer,
        "mvbench_accuracy",
        {"pred_answer": answer, "gt_answer": "B", "score": int(right)},
    )


def results(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, values: Mapping[str, float]
) -> dict[str, Any]:
    """The content of a results file; `values`: what each task reports."""
    return {
        "results": {
            task: {
                "alias": task,
                f"{metric},none": values[task],
                "samples": len(rows),
                f"{metric}_stderr,none": "N/A",
                f"{metric}_stderr_clt,none": 0.1,
                f"{metric}_stderr_clustered,none": "N/A",
            }
            for task, rows in tasks.items()
        },
        "configs": {task: {"task": task, "metric_list": [{"metric": metric}]} for task in tasks},
        "n-samples": {task: {"original": 900, "effective": len(rows)} for task, rows in tasks.items()},
        "config": {"model": "qwen2_5_vl", "model_backend": "lmms_eval.models.chat.qwen2_5_vl.Qwen2_5_VL (chat)"},
        "git_hash": None,
        "lmms_eval_version": "unknown@unknown",
        "date": STAMP,
        "task_hashes": dict.fromkeys(tasks, "0"),
    }


def write(out: Path, content: Mapping[str, Any], tasks: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """The files of a run."""
    folder = out / "tmp__model"
    folder.mkdir(parents=True)
    (folder / f"{STAMP}_results.json").write_text(json.dumps(content, indent=2))
    for task, rows in tasks.items():
        text = "".join(json.dumps(line) + "\n" for line in rows)
        (folder / f"{STAMP}_samples_{task}.jsonl").write_text(text)


def python(folder: Path, does: str, version: str = "0.7.3") -> Path:
    """A program that answers the probe, and when it is asked to run lmms-eval does `does`: Python that finds the
    command line in `flags`, and `lmms_kit` imported."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python"
    program.write_text(
        "#!/usr/bin/env python3\n"
        "import json, os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "if '-c' in sys.argv:\n"
        f"    print(json.dumps({{'lmms_eval': {version!r}, 'torch': '2.13.0', 'transformers': '5.23.0'}}))\n"
        "    sys.exit()\n"
        "from pathlib import Path\n"
        "import lmms_kit\n"
        "assert sys.argv[1:3] == ['-m', 'lmms_eval']\n"
        "words = [word for word in sys.argv[3:] if word != '--log_samples']\n"
        "flags = dict(zip(words[::2], words[1::2]))\n" + textwrap.dedent(does)
    )
    program.chmod(0o755)
    return program
