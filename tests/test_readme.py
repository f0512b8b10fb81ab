"""What our Markdown files promise: every command and snippet is known to the character, every file that
they name exists, four links lead from an experiment to the loss. (`tests/readme` runs the commands and snippets.)"""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
import readme_files
import readme_table
from readme_entries import NotRun, Run, RunBy

REPO = Path(__file__).parents[1]
# Flags of programs that are not ours.
OTHERS = {"--help", "--working-dir", "--runtime-env", "--block"}


def all_texts() -> list[str]:
    return [found.text for _, content in readme_files.texts() for found in readme_files.printed(content)]


def section(title: str) -> str:
    (content,) = (text for _, text in readme_files.texts() if f"\n## {title}\n" in text)
    return content.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_command_and_snippet_is_in_the_table() -> None:
    unknown = sorted(set(all_texts()) - set(readme_table.TABLE))
    assert unknown == [], "printed, and not in tests/readme/readme_table.py: say there how it is run"


def test_the_table_has_nothing_that_is_not_printed() -> None:
    gone = sorted(set(readme_table.TABLE) - set(all_texts()))
    assert gone == [], "in tests/readme/readme_table.py, and printed nowhere"


def test_one_changed_character_is_noticed() -> None:
    """In any text that is printed, wherever it is printed: at its first, last and every seventh character."""
    for name, content in readme_files.texts():
        elsewhere = {
            found.text for file, body in readme_files.texts() if file != name for found in readme_files.printed(body)
        }
        for found in readme_files.printed(content):
            for at in {*range(found.start, found.end, 7), found.end - 1 - found.text.endswith("\n")}:
                other = "x" if content[at] != "x" else "y"
                changed = content[:at] + other + content[at + 1 :]
                now = elsewhere | {one.text for one in readme_files.printed(changed)}
                assert now != set(readme_table.TABLE), (name, found.text, at - found.start)


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=text[:60]) for text, entry in readme_table.TABLE.items() if isinstance(entry, RunBy)],
)
def test_what_other_modules_run_is_there(entry: RunBy) -> None:
    tree = ast.parse((REPO / entry.module).read_text())
    assert entry.test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_what_is_not_run_says_why_and_what_is_run_expects_something() -> None:
    for text, entry in readme_table.TABLE.items():
        if isinstance(entry, NotRun):
            assert len(entry.reason.split()) >= 3, text
        elif not isinstance(entry, RunBy):
            assert all(isinstance(way, Run) for way in entry), text


def flags() -> set[str]:
    """Every flag of ours: the fields of the classes that are command lines, read without importing them."""
    bases = re.compile(r"BaseSettings|StoreCommand|ModelCommand|\w*Settings")
    found = set()
    for root in ("experiments", "platform"):
        for file in (REPO / root).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and any(bases.fullmatch(ast.unparse(base)) for base in node.bases):
                    fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
                    found |= {f"--{ast.unparse(target).replace('_', '-')}" for target in fields}
    return found


def test_every_flag_that_is_named_exists() -> None:
    known = flags() | OTHERS
    for name, content in readme_files.texts():
        assert readme_files.lone_flags(content) - known == set(), name


def test_every_file_that_is_named_exists() -> None:
    """Or is one that a snippet is saved as."""
    saved = {way.file for entry in readme_table.TABLE.values() if isinstance(entry, tuple) for way in entry}
    for name, content in readme_files.texts():
        for path in readme_files.paths(content) - saved:
            assert (REPO / path).exists() or ((REPO / name).parent / path).exists(), f"{name} names {path}"


def test_from_experiment_to_loss_is_four_links() -> None:
    links = re.findall(r"\[`(\w+)`\]\(([\w/.]+)\)", section("From experiment to loss"))
    assert len(links) == 5
    for name, path in links:
        defined = {getattr(node, "name", "") for node in ast.walk(ast.parse((REPO / path).read_text()))}
        assigned = re.search(rf"^{name} = ", (REPO / path).read_text(), re.MULTILINE)
        assert name in defined or assigned, f"{path} defines no {name}"
    # Each file names what the next one defines; the first reaches the loop through `main`, the last is chosen by name.
    for (_, here), (name, _) in list(pairwise(links))[1:]:
        assert name in (REPO / here).read_text(), f"{here} does not lead to {name}"
