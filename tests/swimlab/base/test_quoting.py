"""What is printed for copying means the same text to a shell, to SQL and to Python."""

import ast
import subprocess

import duckdb
import pytest

import nasty
from swimlab.base import quoting
from swimlab.base.printable import printable

NAMES = [name.replace("\x00", "") for name in nasty.names(300, seed=1)]  # no file name has a NUL


@pytest.mark.parametrize("names", [NAMES, ["\udc80 no UTF-8", "'", "\\'", "\n", ""]], ids=["names", "others"])
def test_a_shell_reads_the_same_words(names: list[str]) -> None:
    words = [quoting.shell(name) for name in names]
    assert all(printable(word, keep="") == word for word in words)
    script = f"printf '%s\\0' {' '.join(words)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] == names


def test_sql_and_python_read_the_same_text() -> None:
    for name in NAMES:
        query = f"\n  select {quoting.sql_text(name)} as {quoting.sql_name(name)}{name[-3:]}'"
        block = quoting.python_block(query)
        assert not nasty.controls(block)
        assert ast.literal_eval(block) == query
    texts = ", ".join(f"{quoting.sql_text(name)} as {quoting.sql_name(name)}" for name in NAMES)
    answer = duckdb.sql(f"select {texts}")
    assert answer.fetchall() == [tuple(NAMES)]
    assert answer.columns == NAMES
