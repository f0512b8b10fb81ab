"""--set on experiments and searches, the plan of epochs, and `swimlab recipe`."""

import json
from pathlib import Path

import pytest

import nano
from doctor_data import LLAVA, make_videos, nl_refer
from swim import recipes
from swim.recipe import NLReferFiles, Recipe, Source
from swimlab import Ablation, Arm, Choice, Metric, Search, __main__, main
from swimlab.experiment import chosen_recipe
from swimlab.experiment.run_settings import FlagError
from swimlab.store.paths import checked_path

TINY = recipes.tiny()


def test_a_changed_recipe_has_a_name_of_its_own() -> None:
    assert chosen_recipe.changed(TINY, ()) is TINY
    recipe = chosen_recipe.changed(TINY, ("optim.lr=1e-5", "objective.fusion=max"))
    assert recipe.name == "tiny-objective.fusion=max-optim.lr=1e-5"
    assert recipe == TINY.override({"name": recipe.name, "objective.fusion": "max", "optim.lr": 1e-5})
    assert chosen_recipe.changed(TINY, ("name=mine", "optim.lr=1")).name == "mine"
    # Names are folders of a store, and differ where the changes do.
    layers = [chosen_recipe.changed(TINY, (f"objective.layers=[1,{i}]",)).name for i in (2, 3)]
    long = [
        chosen_recipe.changed(
            TINY,
            ("init=null", "objective.text_weight=0.123456789", "objective.mask_weight=0.123456789", f"optim.lr={i}"),
        ).name
        for i in (1, 2)
    ]
    assert len({*layers, *long}) == 4
    for name in (*layers, *long, chosen_recipe.changed(recipes.tiny_files(), (f"data.videos={'a/b ' * 60}",)).name):
        assert checked_path(f"reports/{name}")
        assert len(name) < 100


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "objective.fusoin=max",
            "--set: recipe 'tiny' has no field 'objective.fusoin'; the nearest is 'objective.fusion'",
        ),
        ("optim.lr=0", "--set: optim.lr: Input should be greater than 0"),
        ("seed=3", "--set: seed is set by each trial"),
    ],
)
def test_mistakes_are_mistakes_of_the_flag(assignment: str, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        chosen_recipe.changed(TINY, (assignment,))


def test_a_value_that_no_trial_would_have_is_refused() -> None:
    def table(*arms: Arm) -> Ablation:
        return Ablation(name="x", arms=arms, seeds=(0,), metrics=[Metric("attention.ap")], recipe="tiny")

    mean, pool = Arm("mean", {"objective.fusion": "mean"}), Arm("pool", {"objective.fusion": "max"})
    base = Arm("base", {"optim.steps": 0})
    for path in ("objective.fusion=add", "optim.lr=1", "optim.epochs=2"):
        chosen_recipe.check_effect([path], [table(mean, pool, base)])
    for path, arms in (("objective.fusion=add", (mean, pool)), ("optim.epochs=2", (base,)), ("optim.steps=2", (base,))):
        with pytest.raises(FlagError, match="every arm sets it itself"):
            chosen_recipe.check_effect([path], [table(*arms)])
        chosen_recipe.check_effect([path], [table(*arms), table(Arm("swim"))])
    search = Search(
        name="s", space=[Choice("objective.fusion", ["mean", "max"])], objectives=[Metric("attention.ap")], budget=2
    )
    chosen_recipe.check_effect(["optim.lr=1"], search)
    with pytest.raises(FlagError, match="the search varies it"):
        chosen_recipe.check_effect(["objective.fusion=max"], search)


def run(capsys: pytest.CaptureFixture[str], command, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        command(*argv)
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checked_code: Path):
    """Runs the nano table, whose recipe is a file."""
    monkeypatch.setenv("SWIMLAB_CACHE", str(checked_code))
    monkeypatch.setenv("SWIMLAB_STORE", str(tmp_path / "store"))
    file = tmp_path / "nano.json"

    def run_table(recipe: Recipe, *argv: str, table=None) -> tuple[int, str, str]:
        file.write_text(recipe.model_dump_json())
        table = table or nano.ablation(seeds=(0,))
        return run(capsys, lambda *flags: main(table, argv=flags), "--recipe", str(file), *argv)

    return run_table


def test_experiments_take_changes_and_exit_with_2_on_a_mistake(plan) -> None:
    recipe = nano.recipe(base=False)
    code, out, err = plan(recipe, "--set", "objective.fusion=max", "optim.epochs=2", "plan")
    assert code == 0, err
    assert "nano on nano-objective.fusion=max-optim.epochs=2: 2 to run" in " ".join(out.split())
    assert "steps      6: 2 epochs of 12 rows, 4 a step" in out
    code, out, err = plan(recipe, "plan", "--set", "optim.epoch=2")
    assert (code, "the nearest is 'optim.epochs'" in err) == (2, True)
    assert (
        plan(
            recipe,
            "plan",
            "--set",
            "objective.mask_weight=1",
            table=nano.ablation(arms=(Arm("control", {"objective.mask_weight": 0}),)),
        )[0]
        == 2
    )
    search = Search(
        name="s",
        space=[Choice("objective.fusion", ["mean", "max"])],
        objectives=[Metric("attention.ap")],
        budget=2,
        pruning=None,
    )
    code, _, err = plan(recipe, "plan", "--set", "optim.epochs=2", table=search)
    assert (code, "a search prunes and reports by steps" in err) == (2, True)


def test_epochs_of_files_are_planned_by_their_rows_and_weights(plan, tmp_path: Path) -> None:
    make_videos(tmp_path)
    (tmp_path / "refer.json").write_text(json.dumps([nl_refer(i) for i in range(5)]))
    (tmp_path / "chat.json").write_text(json.dumps([LLAVA | {"id": str(i), "video": "0.mp4"} for i in range(40)]))
    data = NLReferFiles(
        annotations=(str(tmp_path / "refer.json"), str(tmp_path / "chat.json")),
        videos=str(tmp_path),
        sources=(Source(file="chat.json", weight=0.25, loss="text"),),
        frames=recipes.tiny_files().data.frames,
    )
    recipe = nano.recipe(base=False, data=data, **{"optim.epochs": 3})
    code, out, err = plan(recipe, "plan")
    assert code == 0, err
    assert "steps      12: 3 epochs of 15 rows, 4 a step, counted before any row is set aside" in out
    assert "≈ 12" in out


def test_recipes_are_printed_in_full(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, lambda *argv: __main__.main(argv), "recipe")
    assert code == 0
    assert all(name in out for name in recipes.RECIPES)
    code, out, _ = run(
        capsys, lambda *argv: __main__.main(argv), "recipe", "qwen2.5-vl-3b-lora", "--set", "optim.epochs=3"
    )
    assert code == 0
    (tmp_path / "whole.json").write_text(out)
    whole = recipes.named(str(tmp_path / "whole.json"))
    assert whole == recipes.qwen2_5_vl_3b_lora().override({"optim.epochs": 3, "name": whole.name})
    code, _, err = run(capsys, lambda *argv: __main__.main(argv), "recipe", "tiny", "--set", "optim.lrr=3")
    assert (code, "the nearest is 'optim.lr'" in err) == (2, True)
