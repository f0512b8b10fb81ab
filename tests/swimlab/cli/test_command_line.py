"""What ends a command."""

import signal
import subprocess
import sys

import pytest

# The tests may run in the background of a shell, where an interrupt is ignored and so inherited.
COMMAND = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)
from swimlab.cli.command_line import exit_with
from swimlab.base.screen import say

def command(console):
    print("it runs", flush=True)
    time.sleep(60)
    return 0

exit_with(command, stopped="stopped; run the same command again")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_terminated_command_ends_like_an_interrupted_one(how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "it runs\n"
    process.send_signal(how)
    assert process.communicate(timeout=60)[0] == "stopped; run the same command again\n"
    assert process.returncode == (130 if how == signal.SIGINT else 143)
