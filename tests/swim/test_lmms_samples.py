"""What lmms-eval wrote, read: values, videos, counts, and files that cannot be right."""

import lmms_kit
import pytest
from lmms_kit import DOC_HASH, mvbench, row, videomme

from swim.evaluation.clustered import clustered_mean
from swim.evaluation.lmms_samples import read_samples, score

PERCEPTION = "videomme_perception_score"


def test_rows_with_equal_hashes_are_told_apart_and_clustered_by_video():
    rights = [True, True, False, True, False, False]
    rows = [videomme(n, f"v{n // 2}", right) for n, right in enumerate(rights)]
    content = lmms_kit.results({"videomme": rows}, PERCEPTION, {"videomme": 50.0})
    scores = score("videomme", content, {"videomme": rows[::-1]})
    assert {line["doc_hash"] for line in rows} == {DOC_HASH}
    assert len(scores.videos) == 6
    assert sorted(scores.videos.values()) == ["v0", "v0", "v1", "v1", "v2", "v2"]
    expected = clustered_mean([100.0 * right for right in rights], [0, 0, 1, 1, 2, 2])
    metrics = scores.evaluated.metrics
    assert metrics["videomme.avg"] == metrics["videomme.reported"] == 50.0
    assert (metrics["videomme.avg_low"], metrics["videomme.avg_high"]) == (expected.low, expected.high)
    assert [line.value for line in scores.evaluated.scores] == [100.0 * right for right in rights]
    other = [line | {"target": "A"} for line in rows]
    assert score("videomme", content, {"videomme": other}).rows_fingerprint != scores.rows_fingerprint


def test_a_group_has_the_mean_of_all_rows_and_of_each_task_and_an_empty_answer_is_wrong():
    tasks = {
        "mvbench_action_count": [mvbench(0, "B", True), mvbench(1, "", False)],
        "mvbench_state_change": [mvbench(0, "C", False), mvbench(1, "(B)", True)],
    }
    # Of two rows, one without an answer, lmms-eval reports the share of right ones among those with one.
    content = lmms_kit.results(tasks, "mvbench_accuracy", {"mvbench_action_count": 100.0, "mvbench_state_change": 50.0})
    content["results"]["mvbench"] = {" ": " ", "alias": "mvbench"}
    metrics = score("mvbench", content, tasks).evaluated.metrics
    assert metrics["mvbench.avg"] == 50.0
    assert metrics["mvbench.action_count"] == 50.0
    assert metrics["mvbench.reported"] == 75.0
    assert (metrics["mvbench.asked"], metrics["mvbench.empty"]) == (4, 1)


def test_judged_rows_say_yes_or_no():
    rows = [
        row(n, f"q{n}", "red", "gpt_eval_accuracy", {"video_name": "a", "Correctness": said, "score": 3})
        for n, said in enumerate(("yes", "no", "Yes"))
    ]
    content = lmms_kit.results({"activitynetqa": rows}, "gpt_eval_accuracy", {"activitynetqa": 66.7})
    assert score("activitynetqa", content, {"activitynetqa": rows}).evaluated.metrics["activitynetqa.avg"] == (
        pytest.approx(200 / 3)
    )


def test_a_task_of_ones_own_is_read_by_its_configuration():
    rows = [row(n, f"q{n}", "left", "exact", n % 2 == 0) for n in range(3)]
    content = lmms_kit.results({"mine.v1": rows}, "exact", {"mine.v1": 0.67})
    assert score("mine.v1", content, {"mine.v1": rows}).evaluated.metrics["mine_v1.avg"] == pytest.approx(2 / 3)
    content["configs"]["mine.v1"]["cluster_key"] = "clip"
    rows = [row(n, f"q{n}", "left", "exact", {"score": 1, "clip": "c"}) for n in range(3)]
    assert set(score("mine.v1", content, {"mine.v1": rows}).videos.values()) == {"c"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content, rows: rows.pop(), "1 rows were logged, and lmms-eval counted 2"),
        (lambda content, rows: rows.clear(), "no row was logged"),
        (lambda content, rows: rows[1].update(doc_id=0), "doc_id 0: there are two such rows"),
        (lambda content, rows: rows[1].update(doc_id="1"), "a row has doc_id '1'"),
        (lambda content, rows: rows[1].pop(PERCEPTION), f"doc_id 1: no field '{PERCEPTION}'"),
        (lambda content, rows: rows[1][PERCEPTION].update(score=None), "doc_id 1: .* no number in 'score'"),
        (lambda content, rows: rows[1][PERCEPTION].update(score=float("nan")), "doc_id 1: .* no number in 'score'"),
        (lambda content, rows: content.pop("configs"), "'configs' of the results says nothing of task 'videomme'"),
        (lambda content, rows: content["results"]["videomme"].pop(f"{PERCEPTION},none"), "have 0 values"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(change, says):
    rows = [videomme(n, f"v{n}", True) | {"input": "same"} for n in range(2)]
    content = lmms_kit.results({"videomme": rows}, PERCEPTION, {"videomme": 100.0})
    change(content, rows)
    with pytest.raises(ValueError, match=says):
        score("videomme", content, {"videomme": rows})


def test_lines_end_at_newlines_only_and_a_cut_one_is_named():
    assert read_samples('{"a": "x\u2028y"}\n\n{"a": 2}\n') == [{"a": "x\u2028y"}, {"a": 2}]
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_samples('{"a": 1}\n{"a": ')
    with pytest.raises(ValueError, match="line 1 is no JSON object"):
        read_samples("[1]")
