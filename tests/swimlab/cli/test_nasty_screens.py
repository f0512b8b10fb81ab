"""No command lets a name move the cursor, colour the screen or be read as markup, wherever the name comes from."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from store_kit import committed

import nano
import nasty
from nasty import controls
from swimlab import Ablation, Arm, Better, Metric, Paper, __main__
from swimlab.base.printable import one_line, printable
from swimlab.base.screen import Screen, print_any_text, say
from swimlab.cli import command_line, plan_view
from swimlab.cli.commands.watch import frame
from swimlab.execution.monitor import Experiment, TrialStatus
from swimlab.execution.progress import SweepProgress
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_manifest import AnnouncedTrial, RunManifest
from swimlab.experiment.run_settings import Settings
from swimlab.report.grids import print_grids
from swimlab.store.live_progress import Progress
from swimlab.store.published_tables import write_tables
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

# A rich Text drops these when it is made, so that only a plain str shows them.
DROPPED = re.compile(r"\\x07|\\x08|\\r")
# What a terminal may be sent beside text: colours, and of bars the cursor's moves and visibility.
RICH = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\x1b\[\?1049[lh]|\x1b\[H|\r(?=\x1b\[2K)")


def console(**options: Any) -> Screen:
    return Screen(file=io.StringIO(), width=3000, highlight=False, **options)


def printed(screen: Screen) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def lines_of(text: str) -> list[str]:
    """Lines as they are shown, without white space: cells of a table stand beside them."""
    return [DROPPED.sub("", "".join(one_line(line).split())) for line in text.split("\n")]


def check(output: str, names: list[str]) -> None:
    """There is no control character in the output, and every name."""
    assert not controls(output), controls(output)
    squeezed = DROPPED.sub("", "".join(output.split()))
    for name in names:
        for line in lines_of(name):
            assert line in squeezed, name


def everything(screen: Screen, names: list[str]) -> None:
    """Each name in each way in which commands print."""
    for name in names:
        say(screen, name, "red")
        grid = Table(title=Text(name), caption=Text(name))
        grid.add_column(Text(name), overflow="fold")
        grid.add_row(Text(f"{name}", style="bold"))
        screen.print(grid)
        screen.print(Text.assemble((name, "red"), (name, "bold")), Text(name), Panel(Text(name), title=Text(name)))
    print_grids([(name, [name], [[name]]) for name in names], screen)


@pytest.mark.parametrize("terminal", [False, True])
def test_whatever_is_printed_is_text(terminal: bool) -> None:
    # Markup is on, as in a console that is not ours: no name may be read as some.
    names = nasty.names(80, seed=5)
    screen = console(force_terminal=terminal, color_system="truecolor" if terminal else None, legacy_windows=False)
    everything(screen, names)
    output = printed(screen)
    assert ("\x1b[1m" in output) == terminal
    check(RICH.sub("", output) if terminal else output, names)


def test_styles_stay_on_their_letters() -> None:
    screen = console(force_terminal=True, color_system="standard", legacy_windows=False)
    screen.print(Text.assemble(("a\x1b", "red"), ("b\u202e", "bold"), "c\x1b"))
    assert printed(screen) == "\x1b[31ma\\x1b\x1b[0m\x1b[1mb\\u202e\x1b[0mc\\x1b\n"


def test_lines_of_a_plain_str_are_escaped_before_they_are_measured() -> None:
    screen = console(markup=False)
    say(screen, "a\rb\x07[/c]")
    grid = Table("a\x1b", "b")
    grid.add_row("\x1b]0;t\x07", "c")
    screen.print(grid)
    first, *rest = printed(screen).splitlines()
    assert first == r"a\rb\x07[/c]"
    assert len({len(line) for line in rest}) == 1


class TuneTrial:
    """Of a Tune trial, what progress asks it."""

    def __init__(self, name: str, **last_result: Any) -> None:
        self._name, self.last_result = name, last_result

    def __str__(self) -> str:
        return self._name


@pytest.mark.fault(
    injection="hostile names of arms and stages in the progress of a sweep",
    symptom="progress kills the run with MarkupError after Ray started",
    expected="right: shown as text",
    reference="F14",
)
@pytest.mark.parametrize("terminal", [False, True])
def test_progress_shows_names_as_text(terminal: bool) -> None:
    names = nasty.names(25, seed=6)
    screen = console(force_terminal=terminal, color_system=None, legacy_windows=False)
    with SweepProgress(screen) as progress:
        for name in names:
            progress.stage(name, 1, 1)
        progress.wave(names[0], len(names))
        for name in names:
            trial: Any = TuneTrial(name, stage=name, of=name, shown=name)
            progress.on_trial_result(0, [], trial, {"stage": "train", "step": 1, "steps": 2, "loss": 0.5})
            progress.on_trial_complete(0, [], trial)
    output = printed(screen)
    if terminal:
        assert not controls(RICH.sub("", output))  # a screen full of bars ends in "…", so not every name is there
    else:
        check(output, [printable(name, keep="") for name in names])
        # A name is no second line of the log.
        assert len(output.splitlines()) in (2 * len(names) + 1, 2 * len(names) + 2)  # training reports by the clock


@pytest.mark.fault(
    injection="hostile names of arms, hosts and errors in a store",
    symptom="`watch` breaks its screen",
    expected="right: shown as text",
    reference="F16",
)
def test_live_status_shows_names_as_text() -> None:
    names = nasty.names(60, seed=7)
    trials = tuple(
        AnnouncedTrial(trial_id=f"t{i}", arm=name, seed=0, steps=4, shown=True) for i, name in enumerate(names)
    )
    manifest = RunManifest(
        experiment=names[0], recipe=names[1], announced_at="2026-01-01T00:00:00+00:00", metric=names[2], claims=(),
        trials=trials,
    )  # fmt: skip
    for state in ("running", "failed"):
        for start in range(0, len(trials), 4):
            status = tuple(
                TrialStatus(t, state, Progress(stage=t.arm, step=1, steps=4), host=t.arm, error=t.arm)
                for t in trials[start : start + 4]
            )
            claims = ((names[3], "REPRODUCED", 0.1, None),)
            for terminal in (False, True):
                screen = console(force_terminal=terminal, color_system=None, legacy_windows=False)
                with Live(console=screen, auto_refresh=False) as live:
                    live.update(frame([Experiment(manifest, status, None, claims)], names[4]), refresh=True)
                check(RICH.sub("", printed(screen)), [*names[:2], names[4]])


def test_a_plan_shows_names_as_text(tmp_path: Path) -> None:
    arms = [*nasty.names(10, seed=8), "mean [/b]", "a [red]b"]
    ablation = Ablation(
        name="nasty",
        arms=[Arm(arm, {"objective.mask_weight": 1 + i}) for i, arm in enumerate(arms)],
        seeds=(0, 1),
        metrics=[Metric("attention.ap", primary=True)],
        paper=Paper(arms[1], claims=[Better(arms[0], arms[1])]),
        recipe="tiny-smoke",
    )
    settings = Settings(store=str(tmp_path / "store"), cache=tmp_path / "cache")
    plan = make_plan(ablation, nano.recipe(base=False), settings)
    screen = console(color_system=None)
    screen.print(plan_view.render(plan_view.preview(plan, SweepStore(settings.store), settings)))
    check(printed(screen), arms)


@pytest.fixture(scope="module")
def names() -> list[str]:
    return nasty.names(16, seed=9)


@pytest.fixture
def filled(tmp_path: Path, trial_record: Callable[..., TrialRecord], names: list[str]) -> SweepStore:
    """A store in which every text is one of the names."""
    store = SweepStore(str(tmp_path / "it's\x1b[2J [a] store"))
    about = trial_record().provenance
    rows = []
    for i, name in enumerate(names[:8]):
        provenance = about.model_copy(
            update={"host": name, "versions": {name: name}, "numerics": {"device": name}, "git_sha": name}
        )
        recipe = trial_record().recipe | {
            "name": name,
            "model": {"kind": "tiny", name: name},
            "data": {"kind": "shapes_world", "prompts": name},
        }
        committed(
            store, trial_record, f"t{i}", recipe=recipe, recipe_name=name, provenance=provenance, seed=i,
            metrics={"attention.ap": 0.5, f"x.{name}": 0.25},
        )  # fmt: skip
        rows.append({"experiment": "nasty", "recipe": name, "arm": name, "seed": i, "trial_id": f"t{i}"})
    attempt = store.claim("failed")
    assert attempt is not None
    attempt.fail("\n".join(names), names[0])
    write_tables(store, pa.Table.from_pylist(rows))
    return store


@pytest.fixture
def run(filled: SweepStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on that store; returns what stdout and stderr got."""

    def command(*argv: str, code: int | None = 0) -> str:
        screen = console(markup=False, emoji=False)
        monkeypatch.setattr(command_line, "screen", lambda width: screen)
        with pytest.raises(SystemExit) as ended:
            __main__.main([*argv, "--store", filled.uri])
        output = capsys.readouterr()
        assert code is None or (ended.value.code or 0) == code, printed(screen)
        return printed(screen) + output.out + output.err

    return command


@pytest.mark.fault(
    injection="hostile names of arms, recipes and hosts in a store (escapes, markup, SQL)",
    symptom="`swimlab ls` moves the cursor, retitles the terminal or breaks",
    expected="right: shown as text",
    reference="F16",
)
def test_ls_shows_names_as_text(run: Any, filled: SweepStore, names: list[str]) -> None:
    check(run("ls"), [*names[:8], "it's"])
    check(run("ls", "--experiment", "nasty", "--columns", '"recipe_name"', "--columns", '"arm"'), names[:8])


@pytest.mark.fault(
    injection="hostile names of arms, recipes and hosts in a store (escapes, markup, SQL)",
    symptom="`swimlab show` or `why` moves the cursor or breaks",
    expected="right: shown as text",
    reference="F16",
)
def test_show_and_why_show_names_as_text(run: Any, names: list[str]) -> None:
    for i in range(4):
        check(run("show", f"t{i}"), [names[i]])
    check(run("show", "failed"), [])
    check(run("show", "failed", "--errors"), names)
    check(run("show", "t0", "--recipe"), [])
    check(run("why", "t0", "t1"), names[:2])


@pytest.mark.fault(
    injection="hostile text in --where, --sort and --columns",
    symptom="terminal escapes are echoed, or SQL is run",
    expected="right: answered as text",
)
@pytest.mark.parametrize("flag", ["--where", "--experiment", "--sort", "--columns"])
def test_flags_are_answered_as_text(run: Any, names: list[str], flag: str) -> None:
    for name in names:
        for text in (name, f"arm={name}", f"{name}>1"):
            argv = f'{flag}="{text}"' if flag in ("--where", "--columns") and '"' not in text else f"{flag}={text}"
            assert not controls(run("ls", argv, code=None))


def test_a_wrong_call_is_answered_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    for name in nasty.names(25, seed=10):
        for argv in ([name], ["ls", name], ["ls", f"--{name}"], ["ls", f"--limit={name}"], ["show", "--store", name]):
            if argv[-1] in ("--version", "-h"):
                continue
            with pytest.raises(SystemExit) as ended:
                __main__.main(argv)
            assert ended.value.code
            output = capsys.readouterr()
            assert not controls(output.out + output.err)


def test_an_error_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    names = nasty.names(60, seed=11)
    print_any_text()
    for kind in (ValueError, OSError):
        screen = console(force_terminal=True, color_system="standard", legacy_windows=False)
        monkeypatch.setattr(command_line, "screen", lambda width, screen=screen: screen)

        def fails(_: Any, kind: type[Exception] = kind) -> int:
            raise kind("\n".join(names))

        with pytest.raises(SystemExit):
            command_line.exit_with(fails)
        check(RICH.sub("", printed(screen)), names)
