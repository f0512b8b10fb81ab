"""The cost measurement: reference schemes compute what they claim, bytes are counted exactly, and Ray is not needed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import measurements
from swim.recipe import Objective
from swim.supervision.objective import SupervisedModel
from swimlab.cli import experiment_file
from swimlab.store import provenance
from swimlab.store.sweep_store import SweepStore

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "systems"
sys.path.insert(0, str(EXPERIMENTS))

import cost_of_supervision  # noqa: E402
import cost_recipe  # noqa: E402
import cost_schemes  # noqa: E402
import cost_worker  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NANO = cost_schemes.SIZES["nano"]
TOKENS, TEXT = 96, 24
RELEASED = Objective(
    layers="all",
    query="each-before",
    domain="all",
    fusion="released-product",
    normalise="minmax",
    patch_masks="second",
)


def by_swim(objective: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, gradient of the first queries) by swim's own objective on the same weights and sample."""
    model, _ = cost_schemes.build("swim", NANO, TOKENS, TEXT, CPU)
    given = cost_schemes.sample(model.config, TOKENS, TEXT, CPU)
    losses = SupervisedModel(model, objective)(given.inputs, given.labels_BL, [given.nouns])
    loss = 0.05 * losses.text + losses.mask
    loss.backward()
    return loss.detach(), model.model.language_model.layers[0].self_attn.q_proj.weight.grad


@pytest.mark.parametrize(("scheme", "objective"), [("released", RELEASED), ("eager", Objective(layers="all"))])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_reference_scheme_trains_on_the_loss_it_stands_for(
    scheme: str, objective: Objective, checkpointing: bool
) -> None:
    model, loss = cost_schemes.build(scheme, replace(NANO, checkpointing=checkpointing), TOKENS, TEXT, CPU)
    got = loss()
    got.backward()
    expected, gradient = by_swim(objective)
    torch.testing.assert_close(got.detach(), expected, rtol=1e-5, atol=0)
    found = model.model.language_model.layers[0].self_attn.q_proj.weight.grad
    assert float((found - gradient).norm() / gradient.norm()) < 1e-4


def test_plain_sft_lacks_only_the_mask_loss() -> None:
    built = {scheme: cost_schemes.build(scheme, NANO, TOKENS, TEXT, CPU)[1] for scheme in ("sft", "swim")}
    losses = {scheme: loss().item() for scheme, loss in built.items()}
    model, _ = cost_schemes.build("swim", NANO, TOKENS, TEXT, CPU)
    given = cost_schemes.sample(model.config, TOKENS, TEXT, CPU)
    split = SupervisedModel(model, Objective(layers="all"))(given.inputs, given.labels_BL, [given.nouns])
    assert losses["sft"] == pytest.approx(0.05 * split.text.item(), rel=1e-6)
    assert losses["swim"] - losses["sft"] == pytest.approx(split.mask.item(), rel=1e-4)


def held(scheme: str, size: cost_schemes.Size, tokens: int = TOKENS) -> int:
    """Bytes held for supervision: above plain SFT's."""

    def count(name: str) -> int:
        _, loss = cost_schemes.build(name, size, tokens, TEXT, CPU)
        with cost_worker.LiveBytes() as live:
            kept = loss()
            assert kept.requires_grad
            return live.total()

    return count(scheme) - count("sft")


def test_live_bytes_count_what_is_alive_and_nothing_older() -> None:
    old = torch.ones(100)
    with cost_worker.LiveBytes() as live:
        view = old[:10]
        made = (old * 2).view(10, 10)
        assert live.total() == 400
        squared = (made.requires_grad_() ** 2).sum()
        assert live.total() == 404
        del made
        assert live.total() == 404  # autograd saved it
        del squared
        assert live.total() == 0
    assert view.sum() == 10


# Seven and eight layers both supervise six.
DEEP = cost_schemes.Size(32, 64, 7, 4, 2, 512, checkpointing=True)


def test_the_released_scheme_holds_every_head_of_every_text_token_in_every_layer() -> None:
    K = cost_schemes.sample(cost_schemes.language_model(DEEP, "sdpa", CPU).config, TOKENS, TEXT, CPU).columns
    deeper = held("released", replace(DEEP, layers=8)) - held("released", DEEP)
    assert deeper == DEEP.heads * TEXT * (K.stop - K.start) * 4
    narrow = held("released", replace(DEEP, dtype=torch.bfloat16))
    maps_bytes = DEEP.layers * DEEP.heads * TEXT * (K.stop - K.start) * 2
    assert held("released", DEEP) - narrow == maps_bytes


def test_what_is_held_does_not_depend_on_the_head_width() -> None:
    """Why `7b-narrow` may count for the 7B configuration."""
    for scheme in ("swim", "released"):
        assert held(scheme, DEEP) == held(scheme, replace(DEEP, hidden=64, intermediate=32))


def test_ours_holds_a_few_rows_of_the_supervised_layers() -> None:
    assert held("swim", DEEP) == held("swim", replace(DEEP, layers=8))
    size, tokens = replace(DEEP, heads=8), 1024
    rows_bytes = 6 * cost_schemes.NOUNS * tokens * 4
    assert held("swim", size, tokens) < 3 * rows_bytes


def test_the_sample_has_the_length_and_the_text_asked_for() -> None:
    config = cost_schemes.language_model(NANO, "sdpa", CPU).config
    for tokens, text in ((96, 24), (1024, 256), (4096, 300)):
        given = cost_schemes.sample(config, tokens, text, CPU)
        T, H, W = given.grid
        assert given.inputs["input_ids"].shape == (1, tokens)
        assert (
            given.columns.stop - given.columns.start == T * H * W == int((given.inputs["mm_token_type_ids"] == 2).sum())
        )
        assert tokens - given.columns.stop - 1 == text
        assert int((given.labels_BL != -100).sum()) == min(100, text // 3)
        assert given.columns.stop < min(n.tokens[0] for n in given.nouns)
    with pytest.raises(ValueError, match="give the video"):
        cost_schemes.sample(config, 25, 20, CPU)


def test_flops_of_the_7b_are_those_of_its_parameters() -> None:
    size = cost_schemes.SIZES["7b"]
    assert size.supervised == (2, 7, 12, 17, 22, 27)
    assert size.matrix_parameters == pytest.approx(6.5e9, rel=0.01)
    assert size.step_flops(1) == pytest.approx(6 * size.matrix_parameters, rel=1e-4)


@pytest.fixture(scope="module")
def without_ray(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing Ray fails, in the parent and in its workers."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['ray'] = None\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def command(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(EXPERIMENTS / "cost_of_supervision.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_a_smoke_measures_and_reports_without_ray(tmp_path: Path, without_ray: dict[str, str]) -> None:
    blocked = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, env=without_ray, check=False)
    assert blocked.returncode == 1
    # The other schemes run above, in this process.
    done = command("smoke", "--steps", "1", "--schemes", "swim", "--store", str(tmp_path), env=without_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    (file,) = (tmp_path / "measurements" / "cost_of_supervision").glob("*.json")
    (row,) = json.loads(file.read_text())["rows"]
    assert row["scheme"] == "swim"
    assert row["time_s"] > 0
    assert 0 < row["step_bytes"] < row["peak_bytes"]
    assert row["held_bytes"] > 0
    assert row["full_logits_bytes"] == 128 * 512 * 4
    assert row["logits_bytes"] == 21 * 512 * 4
    table = pq.read_table(tmp_path / "tables" / "measurements" / "cost_of_supervision.parquet")
    assert table.num_rows == 1
    (report,) = (tmp_path / "reports" / "cost_of_supervision").iterdir()
    assert {path.name for path in report.iterdir()} == {"index.html", "measured.png", "report.md"}
    assert "swim" in (report / "report.md").read_text()


def settings(*arguments: str) -> cost_of_supervision.CostSettings:
    return experiment_file.settings(cost_of_supervision.CostSettings, arguments)


def test_a_worker_that_fails_says_why_and_leaves_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings("smoke", "--schemes", "sft", "--store", str(tmp_path))
    # The flag would be refused at once: here the worker refuses it.
    assert cost_of_supervision.main(chosen.model_copy(update={"tokens": (20,)})) == 1
    assert "too few for a video" in capsys.readouterr().err
    assert not (tmp_path / "measurements").exists()
    assert cost_of_supervision.main(settings("report", "--store", str(tmp_path))) == 1
    assert "run it first" in capsys.readouterr().err


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"scheme": "sft", "size": "nano", "tokens": 96, "text_tokens": 24, "time_s": 1.0}])

    def ask(*_: object) -> dict[str, object]:
        if answer := next(answers, None):
            return answer
        raise RuntimeError("swim at 96 tokens failed")

    monkeypatch.setattr(cost_of_supervision, "ask", ask)
    assert cost_of_supervision.main(settings("smoke", "--store", str(tmp_path))) == 1
    (kept,) = measurements.runs(SweepStore(str(tmp_path)), "cost_of_supervision", cost_of_supervision.CostRun)
    assert [row.scheme for row in kept.rows] == ["sft"]
    assert cost_of_supervision.main(settings("report", "--store", str(tmp_path))) == 0


def test_the_plan_interleaves_the_schemes_and_counts_at_8k_last() -> None:
    steps = list(cost_of_supervision.plan(settings("--tokens", "64,96", "--rounds", "2", "--schemes", "sft,swim")))
    assert [(number, scheme, tokens) for number, scheme, _, tokens, _, _ in steps[:8]] == [
        (0, "sft", 64), (0, "swim", 64), (0, "sft", 96), (0, "swim", 96),
        (1, "swim", 64), (1, "sft", 64), (1, "swim", 96), (1, "sft", 96),
    ]  # fmt: skip
    assert steps[8:] == [(0, scheme, "7b-narrow", 8192, 0, "cpu") for scheme in ("sft", "swim")]
    assert {step[2] for step in cost_of_supervision.plan(settings("--device", "cuda"))} == {"7b"}
    for wrong in (("--schemes", "sftt"), ("--schemes", "sft,sft"), ("--tokens", "512,512"), ("--tokens", "512,10")):
        with pytest.raises(SystemExit):
            settings(*wrong)


def test_the_sizes_of_the_recipe_are_planned_in_both_precisions() -> None:
    steps = list(cost_of_supervision.plan(settings("--size", "7b-recipe", "--rounds", "1", "--device", "cuda")))
    schemes = ("sft", "swim", "swim-720p", "swim-1080p")
    assert [(scheme, size, tokens) for _, scheme, size, tokens, _, _ in steps] == [
        (scheme, size, 8192) for size in ("7b-recipe", "7b-recipe-bf16") for scheme in schemes
    ]
    assert set(cost_recipe.SIZES) == {size for sizes in cost_of_supervision.RECIPE_SIZES.values() for size in sizes}
    assert tuple(cost_recipe.MASKS) == schemes
    tokens = {size: cost_recipe.SHAPES[shape].tokens for size, (shape, _) in cost_recipe.SIZES.items()}
    assert {size: tokens[size] for size in cost_of_supervision.RECIPE_TOKENS} == cost_of_supervision.RECIPE_TOKENS
    for wrong in (("--size", "7b-recipe", "--schemes", "eager"), ("--schemes", "swim-720p")):
        with pytest.raises(SystemExit):
            settings(*wrong)


@pytest.mark.parametrize(
    ("scheme", "size"),
    [("swim-1080p", "tiny-recipe-bf16"), pytest.param("sft", "tiny-recipe", marks=pytest.mark.slow)],
)
def test_a_step_of_the_recipe_is_measured(scheme: str, size: str) -> None:
    row = cost_of_supervision.StepCost(round=0, **_without_machine(cost_recipe.measure(scheme, size, CPU, 1)))
    assert (row.scheme, row.size, row.tokens, row.outcome) == (scheme, size, 192, "ok")
    assert row.time_s is not None
    assert row.tokens_per_s == pytest.approx(4 * 192 / row.time_s)
    assert row.peak_bytes is not None
    assert row.step_bytes is not None
    assert 0 <= row.step_bytes < row.peak_bytes
    assert row.mfu is None


def _without_machine(row: dict[str, object]) -> dict[str, object]:
    assert row.pop("machine")
    return row


@pytest.mark.slow
def test_a_smoke_of_the_recipe_reports_both_precisions(tmp_path: Path) -> None:
    line = ("smoke", "--size", "tiny-recipe", "--steps", "1", "--schemes", "sft,swim-720p", "--store", str(tmp_path))
    done = command(*line, env=dict(os.environ))
    assert done.returncode == 0, done.stderr + done.stdout
    (file,) = (tmp_path / "measurements" / "cost_of_supervision").glob("*.json")
    rows = json.loads(file.read_text())["rows"]
    assert [(row["size"], row["scheme"]) for row in rows] == [
        (size, scheme) for size in ("tiny-recipe", "tiny-recipe-bf16") for scheme in ("sft", "swim-720p")
    ]
    (report,) = (tmp_path / "reports" / "cost_of_supervision").glob("*/report.md")
    assert "optimiser step of four conversations" in report.read_text()


def test_counted_bytes_are_judged_against_their_limits() -> None:
    def counted(scheme: str, held_bytes: int) -> cost_of_supervision.StepCost:
        fields = {"round": 0, "text_tokens": 300, "logits_bytes": 10, "full_logits_bytes": 99}
        return cost_of_supervision.StepCost(
            scheme=scheme, size="7b-narrow", tokens=8192, held_bytes=held_bytes, **fields
        )

    came = provenance.gather(
        numerics={"device": "cpu", "dtype": "float32", "world_size": 1}, started_at="s", finished_at="f"
    )

    def verdict(released: int) -> str:
        rows = (counted("sft", 50), counted("swim", 60), counted("released", released))
        run = cost_of_supervision.CostRun(
            experiment="e", run_id="r", machine="m", settings={}, provenance=came, rows=rows
        )
        return cost_of_supervision.counted_grid(run)[2][0][-1]

    assert verdict(50 + 1000) == "met (≥ 100)"
    assert verdict(50 + 999) == "not met (≥ 100)"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scheme", cost_schemes.SCHEMES)
def test_a_worker_measures_on_a_gpu(scheme: str) -> None:
    row = cost_worker.measure(scheme, "nano", 128, 32, torch.device("cuda"), 1)
    assert row["time_s"] > 0
    assert row["peak_bytes"] > row["held_bytes"] > 0
