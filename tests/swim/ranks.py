"""Two processes for what ranks do together, kept for all tests. They are forked off a server that has imported torch
and transformers, 5 s of CPU: spawned, each would import them."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist


@contextmanager
def two_ranks(folders: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """`run(function, *args)`: function(rank, *args) in both, in a process group of its own."""
    server = get_context("forkserver")
    server.set_forkserver_preload(["swim.train", "swim.evaluation.evaluate", "torch.distributed.fsdp", "peft"])
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, server)) for _ in range(2)]

        def run(function: Callable[..., None], *args: Any) -> None:
            meet = folders.mktemp("ranks") / "meet"
            running = [pool.submit(_as_rank, rank, meet, function, args) for rank, pool in enumerate(pools)]
            for ended in wait(running, return_when=FIRST_EXCEPTION).done:
                ended.result()

        yield run


def _as_rank(rank: int, meet: Path, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    # A rank whose other has failed would wait for it for half an hour.
    patience = timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2, timeout=patience)
    try:
        function(rank, *args)
    finally:
        dist.destroy_process_group()
