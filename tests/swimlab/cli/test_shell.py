"""The first screen: help, versions and mistakes, and what they import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nano
import swimlab
from swimlab import __main__
from swimlab.cli import command_line
from swimlab.experiment.run_settings import Settings

# Seconds of import each; a help or a plan needs none of them.
HEAVY = ("torch", "ray", "transformers", "optuna", "pandas", "matplotlib", "scipy.stats", "scipy.optimize", "av")


def ended(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        __main__.main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_help_names_every_command_and_every_command_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ended(["--help"], capsys)
    assert code == 0
    assert all(f"\n  {name}" in out and says in out for name, (_, says) in __main__.COMMANDS.items())
    assert ended([], capsys) == (2, "", out)
    for name in __main__.COMMANDS:
        code, flags, _ = ended([name, "--help"], capsys)
        assert code == 0
        assert f"usage: swimlab {name} " in flags
        assert "--store" in flags or name == "recipe"
    assert ended(["--version"], capsys)[:2] == (0, f"swimlab {__main__.version()}\n")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["lss"], "swimlab: no command 'lss'; the nearest is 'ls' (there are doctor, recipe, ls, show"),
        (["wathc", "--once"], "no command 'wathc'; the nearest is 'watch'"),
        (["--stroe", "x"], "swimlab: no flag --stroe: a command comes first"),
        (["ls", "--stor", "x"], "no flag --stor; the nearest is '--store'"),
        (["ls", "--limit", "0"], "--limit: Input should be greater than or equal to 1"),
        (["show"], "the following arguments are required: TRIAL"),
        (["ls", "extra"], "unrecognized arguments: extra"),
        (["export", "--to", "tensorbord"], "there is no 'tensorbord'; the nearest is 'tensorboard'"),
        (["doctor", "[a.json"], "is written as '\"a,b.json\"'"),
    ],
)
def test_a_mistake_ends_with_2_and_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ended(argv, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["pln"], "command: Input should be 'run', 'plan', 'smoke' or 'report'; the nearest is 'plan'"),
        (["--wrkers", "2"], "no flag --wrkers; the nearest is '--workers'"),
        (["--shard"], "--shard: Value error, a model is sharded over a trial's workers"),
    ],
)
def test_an_experiment_answers_a_mistake_in_the_same_way(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.parse(Settings, argv)
    err = capsys.readouterr().err
    assert (end.value.code, err.count("\n")) == (2, 1)
    assert says in err


def imported(program: str, cwd: Path) -> set[str]:
    """What a program has imported when it exits."""
    code = f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n{program}"
    ours = os.pathsep.join([*sys.path, str(Path(nano.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": ours},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_and_a_second_plan_import_nothing_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = imported("from swimlab.__main__ import main\nmain(['--help'])", tmp_path)
    assert not found & {*HEAVY, "numpy", "pyarrow", "pydantic_settings", "rich"}
    (tmp_path / "nano.json").write_text(nano.recipe().model_dump_json())
    argv = ["plan", "--recipe", "nano.json", "--cache", "cache"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:  # here, where torch is: the first imports what it names, and remembers
        swimlab.main(nano.ablation(), argv=argv)
    assert not ended.value.code
    assert (tmp_path / "cache/checked-code.json").exists()
    assert not imported(f"import nano, swimlab\nswimlab.main(nano.ablation(), argv={argv})", tmp_path) & set(HEAVY)
