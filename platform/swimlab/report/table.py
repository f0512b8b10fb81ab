"""The table of an ablation as data. Renderings (HTML, Markdown, LaTeX, terminal) print it and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swim.worlds import Replicate
from swimlab.experiment.arms import judged_name
from swimlab.experiment.mediation import Mediation
from swimlab.experiment.protocol import ProtocolStatus
from swimlab.report import number_format
from swimlab.stats import intervals
from swimlab.stats.intervals import Interval
from swimlab.stats.pairing import Group, Origin
from swimlab.stats.row_differences import RowDifference
from swimlab.stats.verdicts import JudgedClaim


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


@dataclass(frozen=True)
class Column:
    """A metric of the table: `name` in the experiment file, `measured` in the records of this recipe, with the `judge`
    that gave it, "" without one."""

    name: str
    measured: str
    primary: bool
    judge: str = ""

    @property
    def standin(self) -> bool:
        return judged_name(self.name, self.judge) != self.measured


@dataclass(frozen=True)
class Cell:
    """One arm under one metric: seed → value, and the t interval over seeds (None without a value)."""

    values: Mapping[int, float]
    interval: Interval | None


@dataclass(frozen=True)
class TrialLine:
    """One trial: `state` is done, failed or missing; `problem` is the error, or what the record lacks; `values`
    are the table's metrics as recorded; `origin` says what a done trial may be compared with."""

    arm: str
    seed: int
    trial_id: str
    state: str
    problem: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    origin: Origin | None = None
    tokens_per_s: float | None = None
    mfu: float | None = None


@dataclass(frozen=True)
class ArmRow:
    """One arm.

    Attributes:
        preset, changes: the preset it takes, and the fields it overrides beside it.
        tuned: the values that tuning selected for it.
        paper: the paper's number for the primary metric.
        cells: one for each column of the table.
        over_reference: paired difference of the primary metric to the reference arm.
        claims: indices into Table.claims.
        same_as: the first arm above it with exactly the same trials under this recipe.
    """

    arm: str
    changes: Mapping[str, Any]
    paper: float | None
    cells: tuple[Cell, ...]
    over_reference: Interval | None
    claims: tuple[int, ...]
    trials: tuple[TrialLine, ...]
    same_as: str | None = None
    preset: str | None = None
    tuned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wall_s(self) -> float:
        return math.fsum(t.wall_s for t in self.trials)

    @property
    def cpu_s(self) -> float:
        return math.fsum(t.cpu_s for t in self.trials)

    @property
    def tokens_per_s(self) -> float | None:
        """Of its trials on average; None where none was measured."""
        return _mean(t.tokens_per_s for t in self.trials)

    @property
    def mfu(self) -> float | None:
        """As `tokens_per_s`."""
        return _mean(t.mfu for t in self.trials)


@dataclass(frozen=True)
class OwnReading:
    """The difference of a claim about attention by `metric`, the arms' own reading: shown, not tested."""

    metric: str
    interval: Interval
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class OverRows:
    """A claim over the rows of stored samples (`swimlab.report.row_claims`): the `difference`, None where `problem`
    says why there is none; `replicates` is the same difference over replicates."""

    difference: RowDifference | None
    replicates: Interval | None
    problem: str = ""


@dataclass(frozen=True)
class ClaimRow:
    """A judged claim about, for each seed, the sum over arms of `weights` times `metric`, as records name it, minus
    `above`.

    Attributes:
        about_primary: whether the metric is the table's primary one.
        margin_source: a sentence on where the margin is from; "" where the file says nothing.
        mediation: of the arms that it says are better, where the claim is about answers and this was measured.
        own: the same difference by the arms' own reading, where the claim is about attention and all arms have one.
    """

    text: str
    weights: Mapping[str, float]
    above: float
    margin: float
    outcome: JudgedClaim
    seeds: tuple[int, ...]
    metric: str
    about_primary: bool = True
    margin_source: str = ""
    mediation: tuple[Mediation, ...] = ()
    own: OwnReading | None = None
    over_rows: OverRows | None = None

    @property
    def title(self) -> str:
        """The claim, with its metric where that is not the primary one."""
        return self.text if self.about_primary else f"{self.text} in {self.metric}"

    @property
    def not_mediated(self) -> bool:
        """Whether none of the arms that should be better owes its answers to the rows it supervises."""
        return bool(self.mediation) and all(mediation.absent for mediation in self.mediation)

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.weights)

    @property
    def label(self) -> str:
        """The verdict as printed; MIXED where the trials may not be compared."""
        return str(self.outcome.verdict) if self.outcome.verdict else "MIXED"


@dataclass(frozen=True)
class SelfTest:
    """The A/A row: `arm` against itself on other seeds (`swimlab.stats.intervals.a_a_differences`). `noticeable`: the
    smallest difference that it would have noticed 4 times in 5, by the SD of its differences; None without an SD."""

    arm: str
    interval: Interval
    noticeable: float | None = None

    @property
    def text(self) -> str:
        if self.interval.low is None or self.interval.high is None:
            return "one difference, no interval: three seeds are needed"
        if not self.interval.low <= 0 <= self.interval.high:
            return "a difference: do not trust this table"
        noticed = number_format.number(self.noticeable)
        return (
            f"no difference; one of {noticed} it would have noticed 4 times in 5"
            if self.noticeable
            else "no difference"
        )


@dataclass(frozen=True)
class Table:
    """The table of one ablation under one recipe; rows are arms in the order of the file.

    Attributes:
        comparable: the paper's numbers and these measure the same thing.
        caveat: a sentence on what this table may be quoted for.
        replication: a sentence on what differs between its seeds, which are worlds or orders (`replicate`).
        mixture: groups of trials that may not be compared with each other; empty where all may.
        quarantine: reason → rows of data that were left out.
        trials: every trial of every arm; a trial that arms share is listed under each.
        looks: the numbers of seeds at which the claims are judged; () for one look at all there are.
        designs: how many designs may ask the question, each judged at α ÷ their number.
        verdicts: over what claims are judged, "replicates" or "rows".
    """

    name: str
    title: str
    question: str
    recipe_name: str
    paper_recipe: str
    comparable: bool
    caveat: str
    replication: str
    replicate: Replicate
    columns: tuple[Column, ...]
    rows: tuple[ArmRow, ...]
    claims: tuple[ClaimRow, ...]
    self_test: SelfTest | None
    reference: str | None
    seeds: tuple[int, ...]
    mixture: tuple[Group, ...]
    quarantine: Mapping[str, int]
    notes: tuple[str, ...]
    wall_s: float
    trials: tuple[TrialLine, ...] = field(default=())
    protocol: ProtocolStatus | None = None
    looks: tuple[int, ...] = ()
    designs: int = 1
    verdicts: str = "replicates"

    @property
    def mixed(self) -> bool:
        """Some trials may not be compared (`swimlab.stats.pairing`): numbers are shown, verdicts are not."""
        return bool(self.mixture)

    def members(self, group: Group) -> str:
        """The trials of a group by arm and seeds."""
        seeds: dict[str, list[int]] = {}
        for trial in self.trials:
            if trial.trial_id in group.trial_ids:
                seeds.setdefault(trial.arm, []).append(trial.seed)
        return "; ".join(f"{arm}, seed{'s' * (len(s) > 1)} {', '.join(map(str, s))}" for arm, s in seeds.items())

    @property
    def primary(self) -> int:
        return next(i for i, column in enumerate(self.columns) if column.primary)

    @property
    def printed(self) -> bool:
        """Whether the paper prints a number for any row."""
        return any(row.paper is not None for row in self.rows)

    @property
    def paper_digits(self) -> int:
        """Digits after the point in the paper's column."""
        return number_format.decimals(row.paper for row in self.rows if row.paper is not None)

    @property
    def families(self) -> dict[str, tuple[int, ...]]:
        """Metric → the indices of the claims about it, over which Holm's correction is made."""
        families: dict[str, tuple[int, ...]] = {}
        for i, claim in enumerate(self.claims):
            families[claim.metric] = (*families.get(claim.metric, ()), i)
        return families

    def tested(self, metric: str) -> int:
        """The number of claims in Holm's correction over those about a metric."""
        return sum(self.claims[i].outcome.p_holm is not None for i in self.families[metric])

    @property
    def correction(self) -> str:
        """What p values are corrected for, in a few words."""
        tested = {self.tested(metric) for metric in self.families}
        over = f"Holm over {tested.pop()}" if len(self.families) == 1 else "Holm within a metric"
        return over + (f", {len(self.looks)} looks" if len(self.looks) > 1 else "")

    @property
    def judging(self) -> str:
        """A sentence: at which looks, and over which claims, verdicts are corrected. "" without claims."""
        if not self.claims:
            return ""
        sentences, alpha = [], intervals.ALPHA / self.designs
        if self.designs > 1:
            sentences.append(
                f"At most {self.designs} designs ask this question, each judged at α = {100 * alpha:.3g} %: the "
                "protocol keeps those that were tried."
            )
        if self.looks:
            at, each = " and ".join(map(str, self.looks)), f"{100 * alpha / len(self.looks):.3g} %"
            sentences.append(
                f"Claims are judged at {at} seeds, at α = {each} each time; p is multiplied by the {len(self.looks)} "
                "looks, and what is decided gets no more seeds."
            )
        if len(self.families) > 1:
            sentences.append("The claims about each metric are a family, with a Holm's correction of its own.")
        return " ".join(sentences)

    @property
    def trials_wall_s(self) -> float:
        """Wall-clock of all trials; those that arms share are counted once."""
        return math.fsum({trial.trial_id: trial.wall_s for trial in self.trials}.values())

    @property
    def trials_done(self) -> int:
        """Trials with a record; those that arms share are counted once."""
        return len({trial.trial_id for trial in self.trials if trial.state == "done"})

    @property
    def trials_planned(self) -> int:
        """Planned trials; those that arms share are counted once."""
        return len({trial.trial_id for trial in self.trials})

    @property
    def problems(self) -> tuple[TrialLine, ...]:
        return tuple(trial for trial in self.trials if trial.problem or trial.state != "done")
