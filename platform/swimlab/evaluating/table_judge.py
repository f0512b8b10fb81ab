"""The judge of a table's benchmarks as the flags name it, and what keeps a table from being measured. No torch."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from swimlab.experiment.planned_benchmarks import PlannedBenchmark
from swimlab.experiment.run_settings import FlagError, Settings
from swimlab.llm.budget import Prices
from swimlab.llm.client import EndpointConfig, EndpointError, key_for

CONNECT_S = 2.0


def judge_of(planned: PlannedBenchmark, settings: Settings) -> EndpointConfig | None:
    """The judge as it is asked; None where there is none. Raises ValueError for an address or parameters that no
    request can have."""
    if not planned.judge:
        return None
    return EndpointConfig(
        base_url=settings.judge_url,
        model=planned.judge,
        params=settings.judge_params,
        prices=Prices(prompt=settings.price_in, completion=settings.price_out),
    )


def unreachable(planned: PlannedBenchmark, settings: Settings) -> str:
    """Why the judge cannot be asked from here as things stand, "" where nothing speaks against it: a key is missing, or
    a server of the user's own does not accept connections. Sends nothing."""
    if (judge := judge_of(planned, settings)) is None:
        return ""
    try:
        key_for(judge.base_url)
    except EndpointError as error:
        return str(error)
    address = urlsplit(judge.base_url)
    if address.scheme != "http":  # a public one may stand behind a proxy, and is known to be up
        return ""
    try:
        socket.create_connection((address.hostname or "", address.port or 80), CONNECT_S).close()
    except OSError as error:
        return f"no server accepts connections at {judge.base_url} now ({error}): start it, or correct --judge-url"
    return ""


def check_complete(planned: Sequence[PlannedBenchmark], settings: Settings) -> None:
    """Raises FlagError where a table's benchmarks could not be measured, before anything is trained for them."""
    if planned and settings.keep_checkpoints == "bases":
        raise FlagError("--keep-checkpoints bases: a benchmark is answered by the stored weights of every trial")
    for item in planned:
        problems = [*item.missing, *filter(None, [unreachable(item, settings)])]
        if problems and not settings.train_only:
            raise FlagError(
                f"{item.suite.scorer} cannot be measured: {'; '.join(problems)}. --train-only trains now; the same "
                "command without it then only measures"
            )
