"""How SWIM experiments are run: Ray Data, Ray Train, Ray Tune, the sweep store, verdicts and reports.

The public names are those of an experiment file; importing them starts neither Ray nor torch.
"""

from collections.abc import Sequence

from swimlab.experiment import entry
from swimlab.experiment.ablation import Ablation, Paper
from swimlab.experiment.arms import Arm, Axis, Metric
from swimlab.experiment.benchmark_suites import BenchmarkSuite
from swimlab.experiment.claims.above import Above
from swimlab.experiment.claims.better import Better
from swimlab.experiment.claims.not_worse import NotWorse
from swimlab.experiment.claims.trend import Trend
from swimlab.experiment.search import Choice, Float, Int, Pruning, Search
from swimlab.experiment.tuning import Tuned

__all__ = [
    "Ablation",
    "Above",
    "Arm",
    "Axis",
    "BenchmarkSuite",
    "Better",
    "Choice",
    "Float",
    "Int",
    "Metric",
    "NotWorse",
    "Paper",
    "Pruning",
    "Search",
    "Trend",
    "Tuned",
    "main",
]


def main(*tables: Ablation | Search, argv: Sequence[str] | None = None) -> None:
    """The command line of an experiment file: run (default) | plan | smoke | report; `--help` lists its flags.

    Args:
        tables: the ablations of the file, run in one session in which trials that several share are run once; or one
            search.
        argv: the flags, instead of the process's.

    Raises:
        SystemExit: always. 0 when all is done, 1 when a trial failed or the machine, the store or the data cannot do
            what is asked, 2 for a mistake in the flags, 130 on Ctrl-C.
        TypeError: without a table, and for a search beside anything else.

    Example:
        `if __name__ == "__main__": main(TABLE_4, INTERACTION)`
    """
    if not tables:
        raise TypeError("main() is given the tables that the file declares: main(TABLE_4)")
    # When called and not before: an experiment file is also imported by what runs nothing, and by Ray's workers; and
    # what runs a search imports torch, which the plan of a table does without.
    ablations = [table for table in tables if isinstance(table, Ablation)]
    for search in (table for table in tables if isinstance(table, Search)):
        from swimlab.cli import search_file

        if len(tables) > 1:
            raise TypeError("a search is run alone: give it a file of its own")
        search_file.main(search, argv)
    from swimlab.cli import experiment_file

    experiment_file.main(ablations, argv)


entry.install(main)
