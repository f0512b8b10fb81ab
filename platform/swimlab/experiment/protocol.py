"""The protocol of an ablation, written to the store before its first trial; later changes are shown as amendments.

    protocols/<ablation>/<recipe>/<number>.json    create-only, numbered from 0001; each holds its hash

The name is the number alone: with the hash in it two drivers could both create a first protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from pydantic_core import to_jsonable_python

from swimlab.experiment.plan import Plan
from swimlab.experiment.protocol_changes import changes
from swimlab.identity.naming import canonical, canonical_json
from swimlab.store.arms_tables import read_arms
from swimlab.store.errors import StoreError
from swimlab.store.paths import checked_path
from swimlab.store.provenance import utc_now
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

SCHEMA_VERSION = 1
TEST = "paired Student t over seeds; Holm over the table's claims"
ROW_TEST = "paired by row, clustered by video, over the trained models; Holm over the table's claims"


class Declaration(SealedModel):
    """One file. `results_before`: how many of the ablation's trials had a result when it was written; `trials`:
    those it planned, from which a later amendment counts its results."""

    schema_version: int = SCHEMA_VERSION
    number: int
    hash: str
    declared_at: str
    results_before: int
    trials: tuple[str, ...]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A declared protocol. `changes`: what differs from the one before it, in words; empty for the first."""

    number: int
    hash: str
    declared_at: str
    results_before: int
    changes: tuple[str, ...]
    protocol: Mapping[str, Any]

    @property
    def text(self) -> str:
        """`declared before any result` or `amended after 12 results: seeds 3 → 8 (…)`."""
        results = f"{self.results_before} result{'s' * (self.results_before != 1)}"
        if self.number == 1:
            return "declared before any result" if not self.results_before else f"declared after {results}"
        return f"amended after {results}: {'; '.join(self.changes)}"


@dataclass(frozen=True)
class ProtocolStatus:
    """A table compared with its protocols: the `history`, and `undeclared`, what differs between the last of them
    and the table (nothing, unless the experiment file was changed and only reported since). `part`: "3 of the 8
    declared seeds" where the table shows fewer than all, else empty."""

    history: tuple[Entry, ...]
    undeclared: tuple[str, ...]
    part: str = ""

    @property
    def amended(self) -> bool:
        return len(self.history) > 1 or bool(self.undeclared)

    @property
    def text(self) -> str:
        """The status in one line."""
        if not self.history:
            return "no protocol was declared"
        first, *amendments = self.history
        parts = [f"{first.hash} {first.text} ({first.declared_at})"]
        parts += [f"{entry.text} ({entry.hash}, {entry.declared_at})" for entry in amendments]
        if self.undeclared:
            parts.append(f"changed since and not declared (`run` declares it): {'; '.join(self.undeclared)}")
        if self.part:
            parts.append(f"this table shows {self.part}")
        return "; ".join(parts)


def content(plan: Plan) -> dict[str, Any]:
    """What is declared. The order of arms, claims, metrics and seeds makes no difference; prose and the paper's numbers
    are not part of it, nor is the code that trains, which is part of a trial's name.

    A run of fewer seeds than the experiment file names (a smoke), and a look, are parts of the file's protocol, not
    other ones.
    """
    plan = plan.whole or plan
    ablation, name = plan.ablation, plan.recipe.name
    planned = set(plan.seeds)
    seeds = set(ablation.seeds) if planned <= set(ablation.seeds) else planned
    recipe = json.loads(canonical(plan.recipe))
    recipe.pop("seed")
    declared: dict[str, Any] = {
        "ablation": ablation.name,
        "arms": {arm.name: arm.changes for arm in ablation.arms},
        "claims": _claims(plan),
        "metrics": {
            m.name: {
                "measured": m.measured(name),
                "primary": m is ablation.primary,
                "higher_is_better": m.higher_is_better,
            }
            for m in ablation.metrics
        },
        "seeds": sorted(seeds),
        "test": ROW_TEST if ablation.verdicts == "rows" else TEST,
        "alpha": ablation.alpha,
        "recipe": recipe,
        # What measures the claims: an amended suite, configuration or code of a suite amends the protocol.
        "evaluation": _evaluation(plan),
        "data": _data(plan),
    }
    if ablation.replicate == "world":  # absent, as in protocols of an older swimlab, it is the order
        declared["replicate"] = ablation.replicate
    if (budget := getattr(ablation, "budget", None)) is not None:
        declared["budget"] = budget
    if ablation.designs > 1:
        declared["designs"] = ablation.designs
    if plan.benchmarks:
        declared["benchmarks"] = {item.suite.scorer: item.declared for item in plan.benchmarks}
    if ablation.tuned is not None:
        declared["tuned"] = ablation.tuned.declared
        declared["validation"] = {state.arm: state.validation_fingerprint for state in plan.tuning}
    if ablation.looks:
        declared["looks"] = {"at": ablation.looks, "alpha_each": ablation.alpha / len(ablation.looks)}
        declared["looks"] |= {"futility": ablation.futility} if ablation.futility else {}
    # Through JSON, so that a tuple of the file equals the list that is read back.
    plain: dict[str, Any] = json.loads(canonical_json(to_jsonable_python(declared)))
    return plain


def declare(plan: Plan, store: SweepStore) -> ProtocolStatus:
    """Writes the plan's protocol, unless the last declared one is the same, or the same with more seeds. Must be called
    before the plan's first trial.

    Raises StoreError when the store cannot be written or holds a protocol that cannot be read.
    """
    declared = content(plan)
    name, tried = _hash(declared), 0
    while True:
        earlier = _declarations(store, plan.ablation.name, plan.recipe.name)
        unchanged = earlier and (earlier[-1].hash == name or _fewer_seeds(declared, earlier[-1].protocol))
        # Ours may be there and another driver's after it: neither is written again.
        if unchanged or (tried and earlier[tried - 1].hash == name):
            return _status(plan, declared, _entries(earlier))
        entry = Declaration(
            number=len(earlier) + 1,
            hash=name,
            declared_at=utc_now(),
            results_before=_results(plan, store, earlier),
            trials=tuple(sorted(_trial_ids(plan))),
            protocol=declared,
        )
        path = f"{_folder(plan.ablation.name, plan.recipe.name)}/{entry.number:04d}.json"
        # Refused: another driver was first, or our own write was retried. Reading again tells which.
        tried = entry.number
        store.put_create_only(path, canonical_json(json.loads(entry.to_json())).encode())


def history(store: SweepStore, ablation: str, recipe: str) -> tuple[Entry, ...]:
    """Every protocol declared for an ablation under a recipe (names), first to last."""
    return _entries(_declarations(store, ablation, recipe))


def standing(plan: Plan, store: SweepStore) -> ProtocolStatus:
    """Compares a plan with its declared protocols; writes nothing."""
    return _status(plan, content(plan), history(store, plan.ablation.name, plan.recipe.name))


def results_so_far(plan: Plan, store: SweepStore) -> int:
    """How many results there are before an amendment that would be written now."""
    return _results(plan, store, _declarations(store, plan.ablation.name, plan.recipe.name))


def _status(plan: Plan, declared: Mapping[str, Any], entries: tuple[Entry, ...]) -> ProtocolStatus:
    if not entries:
        return ProtocolStatus((), ())
    last = entries[-1].protocol
    if declared != last and not _fewer_seeds(declared, last):
        return ProtocolStatus(entries, changes(last, declared))
    shown = {trial.seed for trial, _ in plan.arms}
    whole = shown >= set(last["seeds"])
    return ProtocolStatus(entries, (), "" if whole else f"{len(shown)} of the {len(last['seeds'])} declared seeds")


def _fewer_seeds(declared: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether this is the last protocol with some seeds left out: a part of it, which a table says."""
    return {**declared, "seeds": None} == {**last, "seeds": None} and set(declared["seeds"]) < set(last["seeds"])


def _evaluation(plan: Plan) -> dict[str, Any]:
    """The suites by which the table's trials are measured; where an arm is measured otherwise, of that arm too."""
    suites: dict[str, Any] = {}
    of_arms = [(state.arm, state.suites) for state in plan.tuning] + [(t.arm, s.evaluations) for t, s in plan.arms]
    for arm, identities in of_arms:
        for suite in identities:
            declared = {"id": suite.suite_fingerprint, **suite.config}
            if suites.setdefault(suite.suite, declared) != declared:
                suites[f"{suite.suite} ({arm})"] = declared
    return suites


def _data(plan: Plan) -> dict[str, str]:
    """Of each arm the data set of one world, from which those of the others follow: the world in which it is tuned,
    which is known before its trials are, else its first seed."""
    latest_first = sorted(plan.arms, key=lambda planned: planned[0].seed, reverse=True)
    of_arms = {trial.arm: spec.data_fingerprint for trial, spec in latest_first}
    return of_arms | {state.arm: state.data_fingerprint for state in plan.tuning}


def _claims(plan: Plan) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for claim in plan.ablation.paper.claims:
        name = claim.name if claim.metric is None else f"{claim.name} in {claim.metric}"
        while name in claims:
            name += " (again)"
        claims[name] = {
            "kind": type(claim).__name__,
            "margin": float(claim.margin),
            "contrast": plan.ablation.contrast(claim),
            **({} if claim.threshold is None else {"above": float(claim.threshold)}),
            **({} if claim.metric is None else {"metric": claim.metric}),
            **({"margin_source": claim.margin_source} if claim.margin_source else {}),
        }
    return claims


def _hash(protocol: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(protocol)).encode()).hexdigest()[:20]


def _folder(ablation: str, recipe: str) -> str:
    try:
        return checked_path(f"protocols/{ablation}/{recipe}")
    except StoreError as error:
        raise StoreError(f"recipe name {recipe!r} cannot name a folder of the store: {error}") from error


def _declarations(store: SweepStore, ablation: str, recipe: str) -> list[Declaration]:
    declarations = []
    paths = store.list_files(_folder(ablation, recipe))
    for number, (path, data) in enumerate(sorted(store.backend.read_many(paths).items()), start=1):
        source = f"{store.uri}/{path}"
        try:
            entry = Declaration.from_json(data)
        except ValueError as error:
            raise StoreError(
                f"{source} is not what was declared, or no protocol of schema {SCHEMA_VERSION}: {error}; restore it "
                "from a backup, or read it with the swimlab that wrote it"
            ) from error
        if entry.hash != _hash(entry.protocol):
            raise StoreError(f"{source} is not what was declared: its hash does not fit; restore it from a backup")
        if (declared := entry.protocol.get("ablation")) != ablation:
            raise StoreError(f"{source} is a protocol of {declared}: it was copied there; restore it from a backup")
        if entry.number != number or not path.endswith(f"/{number:04d}.json"):
            raise StoreError(f"{source}: protocol {number} of {ablation} on {recipe} is gone; restore it from a backup")
        declarations.append(entry)
    return declarations


def _entries(declarations: Iterable[Declaration]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for d in declarations:
        changed = changes(entries[-1].protocol, d.protocol) if entries else ()
        entries.append(Entry(d.number, d.hash, d.declared_at, d.results_before, changed, d.protocol))
    return tuple(entries)


def _trial_ids(plan: Plan) -> set[str]:
    """The trials of the arms and the points of their tuning: whoever saw one of those saw a result."""
    plan = plan.whole or plan
    return {spec.trial_id for _, spec in plan.arms}.union(*(state.trial_ids for state in plan.tuning))


def _results(plan: Plan, store: SweepStore, declarations: Iterable[Declaration]) -> int:
    """The number of committed trials among those of this plan, of earlier protocols, and of the table as last run."""
    trials = _trial_ids(plan).union(*(entry.trials for entry in declarations))
    path = f"tables/arms/{plan.ablation.name}.parquet"
    if store.exists(path):
        shown = read_arms(store, path)
        trials |= set(shown.filter(pc.equal(shown["recipe"], plan.recipe.name))["trial_id"].to_pylist())
    return len(store.trial_ids() & trials)
