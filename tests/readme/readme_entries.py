"""What the table may say about a printed text: how it is run here, which test module runs it, or why nobody does."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PRINTED = "<<printed>>"


@dataclass(frozen=True)
class Run:
    """A way to run it, in bash, with `.venv` active, in a copy of the repository.

    `put` are the pieces of the printed text that are replaced, `line` the command line it stands in, `env` variables
    beside it. A snippet is first saved as `file`, inside `body`; the line then runs that file. In `put`, `line` and
    `env`, {trial_mean} is the trial of Table 4's arm of that name, {llm} the address of a language model's server,
    {python} the interpreter of the tests, {repo} the repository. `after` are entries to run before, each a printed
    text and which of its ways.
    """

    put: Mapping[str, str] = field(default_factory=dict)
    line: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    body: str = PRINTED
    after: tuple[tuple[str, int], ...] = ()
    code: int = 0
    prints: tuple[str, ...] = ()
    slow: bool = False
    tool: str = ""  # skipped where this program is missing

    @property
    def command_line(self) -> str:
        return self.line or (f"python {self.file}" if self.file else PRINTED)


@dataclass(frozen=True)
class RunBy:
    """A test of another module runs it (and takes its text from this table where it runs it as printed)."""

    module: str
    test: str


@dataclass(frozen=True)
class NotRun:
    """A mention, a notation, or what must not be run here."""

    reason: str


Entry = tuple[Run, ...] | RunBy | NotRun
