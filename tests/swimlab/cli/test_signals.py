"""How commands end when they are told to."""

import os
import signal
import time

import pytest

from swimlab.cli.command_line import exit_with


@pytest.fixture(autouse=True)
def ctrl_c_is_pythons():
    """Ray Train, where an earlier test ran it in this process, has put a handler of its own in place."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.fault(
    injection="SIGTERM or SIGINT to a command",
    symptom="a native stack dump, and no word of how to go on",
    expected="right: cleans up, says it, exit code 143 or 130",
    reference="F11",
)
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminated_command_cleans_up_and_says_how_to_go_on(how, code, capsys):
    before, ended = signal.getsignal(signal.SIGTERM), []

    def command(_):
        try:
            os.kill(os.getpid(), how)
            time.sleep(60)
        finally:
            ended.append(True)
        return 0

    with pytest.raises(SystemExit) as exit_:
        exit_with(command, stopped="run the same command again")
    assert exit_.value.code == code
    assert ended == [True]
    assert "run the same command again" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
