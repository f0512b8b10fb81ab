"""The catalogue of faults refuses entries that say the same or too little, and shows what went wrong."""

import re
from pathlib import Path

import pytest

MARK = """
import pytest

def fault(injection, symptom="lost", expected="right", **more):
    return pytest.mark.fault(injection=injection, symptom=symptom, expected=expected, **more)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a file of tests with the plugin alone, in this process; the table lands in `faults.md`."""

    def run(tests, *argv):
        pytester.makeini("[pytest]\nmarkers =\n    fault\n    slow\naddopts = --strict-markers\n")
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        here = str(Path(__file__).parent)
        pytester.makeconftest(f'import sys\nsys.path.insert(0, {here!r})\npytest_plugins = ("fault_table",)\n')
        pytester.makepyfile(MARK + tests)
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--fault-table", "faults.md", *argv)
        page = pytester.path / "faults.md"
        return result, page.read_text() if page.exists() else ""

    return run


def rows(page):
    """Cells of each entry by its injection."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page.splitlines() if line[:2] == "| "
    ]
    return {row[0]: row[1:] for row in cells[1:]}


def test_the_table_says_what_came_of_each_fault(run):
    result, page = run(
        """
@fault("disk full", expected="error names the disk", reference="F1")
def test_disk(record_property):
    record_property("message", "no space | left")

@pytest.mark.slow
@fault("power cut")
@pytest.mark.parametrize("n", [1, 2])
def test_power(n):
    pass

@fault("clock step")
@pytest.mark.parametrize("n", [1, 2])
def test_clock(n):
    assert n == 1, "two is late"

@fault("no root")
def test_root():
    pytest.skip("we are not root")

@fault("known")
@pytest.mark.xfail(reason="not mended")
def test_known():
    assert False

@pytest.mark.parametrize("kind", [pytest.param(1, marks=fault("cut")), pytest.param(2, marks=fault("flip"))])
def test_kinds(kind):
    pass

@fault("one", "lost")
@fault("one", "doubled", "right: once")
def test_two_entries():
    pass
"""
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    table = rows(page)
    assert {name: cells[1] for name, cells in table.items() if name != "one"} == {
        "disk full": "clear error",
        "power cut": "right",
        "clock step": "**WRONG**",
        "no root": "not run",
        "known": "**WRONG**",
        "cut": "right",
        "flip": "right",
    }
    assert table["disk full"][2:5] == ["error names the disk; no space \\| left", "F1", "fast"]
    assert table["power cut"][4] == "slow"
    assert table["power cut"][5].endswith("::test_power (2 cases)")
    assert "two is late" in table["clock step"][2]
    assert "not mended" in table["known"][2]
    assert "we are not root" in table["no root"][2]
    assert "| one | doubled | right | right: once |" in page
    assert "9 faults: 5 right, 1 clear error, 2 WRONG, 1 not run." in page
    assert re.search(r"commit \w{7,}", page)


def test_an_expected_failure_fails_the_command(run):
    result, page = run('@fault("a")\n@pytest.mark.xfail(reason="later")\ndef test_a():\n    assert False\n')
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "**WRONG**" in page


def test_reports_of_other_processes_are_in_the_table(run):
    result, page = run('@fault("a")\ndef test_a():\n    pass\n', "-n", "1")
    assert result.ret == pytest.ExitCode.OK
    assert rows(page)["a"][1] == "right"


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (
            '@fault("a")\ndef test_a():\n    pass\n@fault("a")\ndef test_b():\n    pass\n',
            "*test_a and *test_b bear the same fault: 'a' × 'lost'",
        ),
        ('@pytest.mark.fault(injection="a", symptom="b")\ndef test_a():\n    pass\n', "*injection, symptom, expected*"),
        ('@pytest.mark.fault("a", "b", "right")\ndef test_a():\n    pass\n', "*injection, symptom, expected*"),
        ('@fault("a", tier="x")\ndef test_a():\n    pass\n', "*injection, symptom, expected*"),
        ('@fault("")\ndef test_a():\n    pass\n', "*injection, symptom, expected*"),
        ('@fault("a", expected="fine")\ndef test_a():\n    pass\n', "*begins with right or error, not 'fine'"),
    ],
    ids=["twice", "no expectation", "positional", "unknown field", "empty", "neither"],
)
def test_an_entry_that_says_too_little_or_what_another_says_is_refused(run, tests, reason):
    result, page = run(tests)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {reason}"])
    assert page == "", "nothing is written"


def test_a_run_without_faults_leaves_the_table(run, pytester):
    (pytester.path / "faults.md").write_text("of an earlier run")
    result, page = run("def test_a():\n    pass\n", "-m", "fault")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert page == "of an earlier run"
