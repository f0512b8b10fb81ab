"""Every command and snippet that our Markdown files print, and how the tests run it.

Keys are the printed texts. What is not printed as it is run stands in an entry and nowhere else: sizes (`nano.json`:
two steps of a 32-wide model on twelve clips, one seed), places, ids, the server of a language model.
"""

import readme_snippets as snippets
from readme_entries import PRINTED, Entry, NotRun, Run, RunBy

NANO = {"SWIMLAB_RECIPE": "nano.json", "SWIMLAB_SEEDS": "1"}
PLAN = NANO | {"SWIMLAB_COMMAND": "plan"}
RAY_JOB = "tests/infra/test_ray_job.py"
LOOKS = "tests/swimlab/experiment/test_look_plans.py"
TABLE_2 = "tests/experiments/test_benchmark_general.py"
TABLE_2_RUN = "test_table_2_is_planned_run_and_run_again_for_nothing"
OWN_TRAINER = "tests/swim/test_own_trainer.py"

# The suite that runs this has checked the same files: its mypy answers from there. Of the tests, one small module.
ONE_MODULE = {
    "MYPY_CACHE_DIR": "{repo}/.mypy_cache",
    "PYTEST_ADDOPTS": "tests/test_architecture.py -p no:cacheprovider",
}
CHECKED = ("All checks passed", "already formatted", "no issues found")

SWEEP = "make sweep"
SWEPT = ((SWEEP, 0),)
BUILD = "python experiments/build_nl_refer.py --annotations my/videorefer.json --out my/nl_refer.jsonl"
TRAIN = "python experiments/train.py --annotations my/nl_refer.jsonl --videos my/clips"
START, SUBMIT = "ray start --head", "ray job submit -- python experiments/sweep_fusion.py"
UPLOAD = (
    "ray job submit --working-dir . --runtime-env infra/runtime-env.yaml -- python experiments/sweep_fusion.py smoke"
)
README_TOKEN = "export RAY_AUTH_MODE=token && ray get-auth-token --generate > /dev/null"
INFRA_TOKEN = "(umask 077 && ray get-auth-token --generate >/dev/null)"
INFRA_EXPORT = "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"
PLAN_TRAIN = "python experiments/train.py plan --annotations my/rows.json --videos my/clips " + PRINTED
JOURNAL = "optuna-dashboard swimlab-store/studies/joint/tiny-hard-look/journal.log"
OPEN_JOURNAL = """python -c '
import sys
from optuna.storages import JournalStorage, journal
print("trials", len(JournalStorage(journal.JournalFileBackend(sys.argv[1])).get_all_trials(0)))
'"""

DOG = '211a my/clips/dog.mp4 "Describe the brown dog."'
DOG_PUT = {"211a": "{trial_mean}", "dog.mp4": "videos/train_000000.mp4", "brown dog": "small lemon"}

HUBER = 'Arm("huber", {"objective.mask_loss": "huber"})'


def with_arm(name: str, arm: str, imports: str = "Ablation, Arm, Metric, main") -> str:
    """An experiment file with one more arm than its control."""
    return f"""\
from swimlab import {imports}

NAMED = Ablation(
    name="{name}",
    question="Is what the README prints an arm?",
    arms=[{arm}, Arm("control", {{"objective.mask_weight": 0}})],
    seeds=(0,),
    metrics=[Metric("attention.ap", primary=True)],
    recipe="tiny-hard-look",
)

if __name__ == "__main__":
    main(NAMED)
"""


COMMANDS: dict[str, Entry] = {
    # The Makefile. Set-up is done: `.venv` has the packages of the environment that runs the tests.
    SWEEP: (
        Run(env=NANO, prints=("Table 4", "mean > product", "reports/index.html")),
        Run(env=NANO, after=SWEPT, slow=True, prints=("together 0 to run", "Table 4")),
    ),
    "make test": (Run(env=ONE_MODULE, prints=(*CHECKED, "test_architecture")),),
    "make test-all": (Run(env=ONE_MODULE, slow=True, prints=(*CHECKED, "test_architecture")),),
    "@pytest.mark.fault(injection=…, symptom=…, expected=…)": RunBy(
        "tests/test_fault_table.py", "test_the_table_says_what_came_of_each_fault"
    ),
    "make faults": (
        Run(
            env={"PYTEST_ADDOPTS": "tests/swimlab/cli/test_signals.py -p no:cacheprovider", "FAULT_TABLE": "faults.md"},
            prints=("0 WRONG", "faults.md"),
        ),
    ),
    "make check": (Run(env=ONE_MODULE, slow=True, prints=CHECKED),),
    "make unit": (Run(env=ONE_MODULE, slow=True, prints=("test_architecture",)),),
    ".venv/bin/pre-commit install": NotRun("pre-commit is none of our dependencies: its one hook is `make check`"),
    "make lmms-env": NotRun("it downloads 2 GB of packages, and tests ask no network"),
    "python experiments/benchmark_general.py plan --base TRIAL --swim TRIAL": RunBy(TABLE_2, TABLE_2_RUN),
    "python experiments/benchmark_general.py run --base TRIAL --swim TRIAL": RunBy(TABLE_2, TABLE_2_RUN),
    "make audit": NotRun("it asks advisory services over the network, and tests ask none"),
    "make setup": (Run(prints=("Nothing to be done",)),),
    "make smoke": (
        Run(env=NANO, prints=("Smoke of Control", "reports/index.html")),
        Run(slow=True, prints=("(the paper's objective) points at", ": ok")),
    ),
    "make paper-quick": (
        Run(env=PLAN, prints=("layers on tiny-hard-look", "loss-weight on tiny-hard-look", "of 20 points answered")),
        Run(env=NANO, slow=True, prints=("Table 3", "Table 5", "joint")),
    ),
    "--looks 1": RunBy(LOOKS, "test_looks_1_stops_after_the_first_and_the_report_shows_it_until_the_next_is_begun"),
    "make paper": (Run(env=PLAN, prints=("layers on tiny-hard-look", "of 20 points answered")),),
    # Plans and one's own data.
    "source .venv/bin/activate": (Run(line=f"{PRINTED} && command -v swimlab python", prints=(".venv/bin/swimlab",)),),
    ".venv/bin/python experiments/control.py plan": (Run(prints=("24 to run", "official-code")),),
    "swimlab doctor my/rows.json --videos my/clips": (Run(prints=("nl-refer", "reports/doctor")),),
    BUILD: (Run(prints=("rewritten", "my/nl_refer.jsonl")),),
    TRAIN: (
        Run(env={"SWIMLAB_RECIPE": "nano-files.json"}, after=((BUILD, 0),), prints=("swim", "0 rows quarantined")),
    ),
    f"{TRAIN} --recipe qwen2.5-vl-7b": (
        # 15 GB of weights and a GPU: the same line on tiny models of the class is in tests/swim and tests/swimlab.
        Run(env={"SWIMLAB_COMMAND": "plan"}, after=((BUILD, 0),), prints=("qwen2.5-vl-7b", "1 to run")),
    ),
    "--rewriter endpoint --model NAME --base-url URL": (
        Run(
            put={"NAME": "tiny", "URL": "{llm}"},
            line=f"{BUILD.replace('nl_refer.jsonl', 'asked.jsonl')} --workers 1 {PRINTED}",
            prints=("requests", "my/asked.jsonl"),
        ),
    ),
    "--clips stream --workers 4 --decode-cpus 12": (Run(line=PLAN_TRAIN, prints=("1 to run",)),),
    "--workers 4 --shard": (Run(line=PLAN_TRAIN, prints=("1 to run",)),),
    "--workers 4": (Run(line=PLAN_TRAIN, prints=("1 to run",)),),
    "--workers 2": (Run(line=PLAN_TRAIN, prints=("1 to run",)),),
    "--fraction 0.25": (Run(line=PLAN_TRAIN, prints=("1 to run",)),),
    "swimlab recipe": (Run(prints=("qwen2.5-vl-3b-lora", "7,344")),),
    "swimlab recipe qwen2.5-vl-3b-lora": (Run(prints=('"layers": 36',)),),
    "python experiments/control.py plan --set objective.fusion=max optim.epochs=2": (
        Run(env=NANO, prints=("fusion=max-optim.epochs=2", "2 epochs of")),
    ),
    "--recipe qwen2.5-vl-7b-lora": (Run(line=PLAN_TRAIN, prints=("qwen2.5-vl-7b-lora", "1 to run")),),
    "--recipe qwen2.5-vl-3b-lora": (Run(line=PLAN_TRAIN, prints=("qwen2.5-vl-3b-lora", "1 epoch of")),),
    "--recipe mine.json": (Run(line=f"cp nano-files.json mine.json && {PLAN_TRAIN}", prints=("tiny-files",)),),
    "SWIMLAB_STORE=s3://bucket/prefix": (
        Run(
            put={"s3://bucket/prefix": "elsewhere"},
            line=f"{PRINTED} swimlab ls",
            code=1,
            prints=("elsewhere is not there",),
        ),
    ),
    "python experiments/systems/variance_components.py": RunBy(
        "tests/experiments/test_variance_components.py",
        "test_a_small_table_is_trained_measured_and_never_trained_again",
    ),
    "--replicate order": RunBy(
        "tests/experiments/test_experiments.py", "test_plan_lists_trials_and_what_they_start_from"
    ),
    "python experiments/systems/verdict_calibration.py": (Run(env={"SWIMLAB_TABLES": "100"}, prints=("ABOVE 5 %",)),),
    "experiments/systems/cost_of_supervision.py --device cuda": (
        # `smoke` and a CPU: the same harness, small sizes.
        Run(put={"cuda": "cpu"}, line=f"python {PRINTED} smoke", slow=True, prints=("step (s)",)),
    ),
    # Reading the store.
    "swimlab ls --experiment fusion --sort attention.ap": (Run(after=SWEPT, prints=("released-fusion", "mean")),),
    "swimlab show 211a": (
        Run(put={"211a": "{trial_mean}"}, after=SWEPT, prints=("tiny-hard-look as mean", "committed")),
    ),
    "swimlab why 211a bad7": (
        Run(
            put={"211a": "{trial_mean}", "bad7": "{trial_pool}"},
            after=SWEPT,
            prints=("They differ in objective.fusion and in modules swim.supervision.fusion.max and",),
        ),
    ),
    "swimlab watch": (Run(line=f"{PRINTED} --once", after=SWEPT, prints=("fusion",)),),
    "swimlab replay 211a": (
        # As printed it asks first, and here is no terminal.
        Run(put={"211a": "{trial_mean}"}, after=SWEPT, code=1, prints=("add --trust if you trust",)),
        Run(put={"211a": "{trial_mean}"}, line=f"{PRINTED} --trust", after=SWEPT, prints=("EQUAL",)),
    ),
    "swimlab export --experiment fusion --out fusion.csv": (Run(after=SWEPT, prints=("6 trials in fusion.csv",)),),
    "swimlab export --experiment fusion --to tensorboard --out DIR": (
        Run(put={"DIR": "tb"}, after=SWEPT, prints=("6 trials copied to tensorboard at tb",)),
    ),
    "swimlab export --experiment fusion --to mlflow --tracking-uri URI": (
        # MLflow is none of our dependencies: the line reaches it, and says what to install.
        Run(put={"URI": "runs"}, after=SWEPT, code=1, prints=("--to mlflow needs MLflow, which is not installed",)),
    ),
    # Models of two steps, which say little; the videos are those that were drawn for the folder.
    f"swimlab ask {DOG}": (Run(put=DOG_PUT, after=SWEPT, prints=("finish", "frames 0, 1, 2, 3 of my/clips")),),
    f"swimlab look {DOG} --out dog": (
        Run(
            put=DOG_PUT,
            line=f"{PRINTED} --base {{trial_pool}}",  # the recipe has no base, to be quick
            after=SWEPT,
            prints=("noun lemon (found by rule)", "dog/index.html", "dog/film.mp4"),
        ),
    ),
    "swimlab answers 211a --by described.subject": (
        Run(put={"211a": "{trial_mean}"}, after=SWEPT, prints=("answers in answers.html",)),
    ),
    "swimlab checkpoint 211a my-model": (
        Run(put={"211a": "{trial_mean}"}, after=SWEPT, prints=("in my-model: 8 files",)),
    ),
    "swimlab gc": (Run(after=SWEPT, prints=("swimlab-store",)),),
    JOURNAL: (
        # The dashboard is none of our dependencies: Optuna opens the file that it would show.
        Run(put={"optuna-dashboard": OPEN_JOURNAL}, after=(("make paper-quick", 1),), slow=True, prints=("trials 20",)),
    ),
    # Ray jobs: a head of our own, which listens on loopback and is ended by its process id.
    README_TOKEN: RunBy(RAY_JOB, "submitted"),
    INFRA_EXPORT: RunBy(RAY_JOB, "elsewhere"),
    INFRA_TOKEN: RunBy(RAY_JOB, "elsewhere"),
    START: RunBy(RAY_JOB, "submitted"),
    f"{START} --block": RunBy(RAY_JOB, "elsewhere"),
    SUBMIT: RunBy(RAY_JOB, "submitted"),
    UPLOAD: RunBy(RAY_JOB, "test_an_uploaded_job_trains"),
    "ssh -L 8265:127.0.0.1:8265 HOST": (
        # No other machine here: ssh says how it understands the line.
        Run(put={"ssh": "ssh -G", "HOST": "127.0.0.1"}, tool="ssh", prints=("localforward 8265 [127.0.0.1]:8265",)),
    ),
    "pip install -r constraints.txt": (
        # All of it is there: without an index pip would fail on a pin that is not.
        Run(
            put={"pip install": "{python} -m pip install --dry-run --no-index --no-deps"},
            prints=("Requirement already satisfied: torch",),
        ),
    ),
    # Mentions.
    "ray stop": NotRun("it ends every Ray on the machine, also those of others"),
    "ray start": NotRun("a mention of the command below"),
    "ray get-auth-token": NotRun("it prints the token; with --generate it is run above"),
    "RAY_AUTH_MODE=token": RunBy(RAY_JOB, "submitted"),
    "RAY_API_SERVER_ADDRESS=http://host:port": RunBy(RAY_JOB, "submitted"),
    "swimlab --version": (Run(prints=("swimlab 0.1.0",)),),
    "swimlab replay": NotRun("a mention: it is run with an id above"),
    "kill -9": RunBy("tests/swimlab/execution/test_stopped_sweep.py", "test_a_stopped_sweep_goes_on"),
}

SNIPPETS: dict[str, Entry] = {
    snippets.PYARROW: (Run(file="by_pyarrow.py", after=SWEPT, prints=("released-product", "lemon")),),
    snippets.DUCKDB: (Run(file="by_duckdb.py", after=SWEPT, prints=("released-fusion", "control")),),
    snippets.ANSWERS: (Run(file="answers_by_duckdb.py", after=SWEPT, prints=("looks_at_it", "share_right")),),
    snippets.EXPERIMENT: (
        Run(
            file="experiments/weight_by_layers.py",
            line="python experiments/weight_by_layers.py plan",
            prints=("24 to run",),
        ),
    ),
    # A file as any other of its folder: it is imported, and then an arm is trained with it.
    snippets.LOSS: (Run(file="swim/supervision/losses/huber.py"),),
    HUBER: (
        Run(
            file="experiments/with_huber.py",
            body=with_arm("with-huber", PRINTED),
            env=NANO,
            prints=("huber: 1 to run", "control"),
        ),
    ),
    "looks=(4, 8)": RunBy(LOOKS, "test_a_run_goes_on_by_itself_with_what_is_undecided"),
    "designs=3": RunBy("tests/swimlab/report/test_designs.py", "test_a_claim_is_judged_at_the_share_of_a_design"),
    "futility=0.1": RunBy(LOOKS, "test_the_protocol_declares_the_looks_and_a_look_is_a_part_of_it"),
    'Better("swim", "control", metric="answer.accuracy")': RunBy(
        LOOKS, "test_claims_about_another_metric_are_a_family_of_their_own"
    ),
    snippets.TRAINER: RunBy(OWN_TRAINER, "test_the_readmes_example_trains_in_twenty_lines"),
    # Expressions in the prose, inside files that they would stand in.
    'Arm("released", preset="official-code")': (
        Run(
            file="experiments/with_preset.py",
            body=with_arm("with-preset", PRINTED),
            line="python experiments/with_preset.py plan",
            env=NANO,
            prints=("released",),
        ),
    ),
    'Axis("objective.fusion", {"mean": "mean", "pool": "max"})': (
        Run(
            file="experiments/with_axis.py",
            body=with_arm("with-axis", f"*{PRINTED}", "Ablation, Arm, Axis, Metric, main"),
            line="python experiments/with_axis.py plan",
            env=NANO,
            prints=("mean", "pool"),
        ),
    ),
    'replicate="order"': RunBy(
        "tests/swimlab/experiment/test_world_tables.py",
        "test_world_0_is_what_was_trained_before_and_other_worlds_share_nothing_with_it",
    ),
    "main(TABLE)": NotRun("a mention: with a second page it is run below"),
    "main(TABLE, PAGE_2)": (
        Run(
            file="experiments/with_page.py",
            body=f"""\
from sweep_fusion import INTERACTION as PAGE_2
from sweep_fusion import TABLE_4 as TABLE
from swimlab import main

{PRINTED}
""",
            line="python experiments/with_page.py plan",
            env=NANO,
            prints=("fusion on", "fusion-normalise on"),
        ),
    ),
    'tuned=Tuned(space=[Float("optim.lr", 5e-4, 4e-3, log=True)], budget=6, seed=100)': (
        Run(
            file="experiments/with_tuning.py",
            body=f"""\
from dataclasses import replace

from sweep_fusion import TABLE_4
from swimlab import Float, Tuned, main

main(replace(TABLE_4, {PRINTED}))
""",
            line="python experiments/with_tuning.py plan",
            env=NANO,
            prints=("optim.lr",),
        ),
    ),
    'objective("official-code")': (
        Run(
            file="preset.py",
            body=f"from swim.supervision.presets import objective\n\nprint({PRINTED}.fusion)\n",
            prints=("released-product",),
        ),
    ),
    "model.model.visual.requires_grad_(False)": RunBy(OWN_TRAINER, "test_the_readmes_example_trains_in_twenty_lines"),
    "tagged_nouns(…, row=i)": RunBy(OWN_TRAINER, "test_nouns_are_found_where_the_encoder_put_them"),
    "end=": RunBy(OWN_TRAINER, "test_packed_samples_are_told_apart_by_where_they_end"),
}
TABLE: dict[str, Entry] = COMMANDS | SNIPPETS


def run_as_printed(text: str) -> str:
    """`text`, for a module that runs it: fails where the table has no such key or knows another way."""
    assert isinstance(TABLE[text], RunBy), text
    return text
