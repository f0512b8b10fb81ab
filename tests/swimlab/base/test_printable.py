"""Control characters are escaped, and nothing else is."""

import logging
import subprocess
import sys

import nasty
from swimlab.base.printable import one_line, printable


def test_only_unprintable_characters_are_escaped() -> None:
    assert printable("a\x1b[31mb\u202ec\x9b\ud800\x00") == "a\\x1b[31mb\\u202ec\\x9b\\ud800\\x00"
    assert printable("two\nlines\tand “−” 名\u00a0é") == "two\nlines\tand “−” 名\u00a0é"
    assert one_line("a\n  b\r\tc") == "a b\\r c"
    for code in range(0x3000):
        assert printable(chr(code), keep="").isprintable()


def test_every_name_is_without_controls_and_stays_different() -> None:
    names = nasty.names(500, seed=0)
    assert not nasty.controls("".join(map(one_line, names)))
    assert len({printable(name) for name in names}) == len(names)


def test_warnings_of_loggers_are_printable() -> None:
    code = (
        "import logging; from swimlab.base.screen import print_any_text; print_any_text();"
        "logging.getLogger('swimlab.store').warning('not written: %s', 'a\\x1b[2Jb')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "not written: a\\x1b[2Jb\n"
    assert logging.lastResort is not None
