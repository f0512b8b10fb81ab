"""What ablations and searches share while they run: a Ray, the slots of its machines, and the prepared data.

Imports Ray, so it is imported only by a run that has trials to run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from swim.recipe import HubModel, Recipe, ShapesWorld
from swimlab.base.screen import say
from swimlab.data import preparation, size_estimate
from swimlab.data.feature_table import features_folder
from swimlab.data.prepared_clips import PreparedData
from swimlab.execution import cluster, evaluations, faults, tune_scheduler
from swimlab.execution.cluster import Slots
from swimlab.execution.progress import SweepProgress
from swimlab.execution.run_times import WaveTiming
from swimlab.execution.step_checkpoints import Saving
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.identity.splits import TRAINED, Split
from swimlab.store.paths import code_path
from swimlab.store.sweep_store import SweepStore

NAMED_ARMS = 8
HELD_POLL_S = 2.0


@dataclass(frozen=True)
class RunSession:
    store: SweepStore
    settings: Settings
    slots: Slots
    progress: SweepProgress

    @property
    def saving(self) -> Saving:
        """How trials are saved while they train."""
        chosen = self.settings
        return Saving(every_s=chosen.checkpoint_minutes * 60, other_workers=chosen.resume_on_other_workers)

    def archive(self, specs: Iterable[TrialSpec]) -> None:
        """Stores the sources of these trials and of their evaluations. Called first: the files must still be those from
        which the trials were named."""
        archives = {}
        for spec in specs:
            archives[spec.code_fingerprint] = partial(naming.source_archive, spec.recipe)
            for evaluation in spec.evaluations:
                archives[evaluation.code_fingerprint] = partial(naming.suite_archive, spec.recipe, evaluation.suite)
        for fingerprint, packed in archives.items():
            path = code_path(fingerprint)
            if not self.store.exists(path):
                self.store.put_create_only(path, packed())

    def prepare(self, recipes: Mapping[str, Recipe], splits: Sequence[Split] = TRAINED) -> None:
        """Clips fingerprint → a recipe that needs them: these splits of its data are read, decoded and stored, unless
        the store has them. Raises PipelineError."""
        for fingerprint, recipe in recipes.items():
            prepared = preparation.prepare(
                recipe.data,
                fingerprint,
                self.store,
                self.settings.cache,
                self.progress.stage,
                model=recipe.model,
                splits=splits,
                max_quarantined_share=self.settings.max_quarantined_share,
                store_clips=self.settings.clips == "store" or isinstance(recipe.data, ShapesWorld),
                max_clips_bytes=self.settings.max_clips_gb * 1e9,
            )
            if self.settings.features and isinstance(recipe.model, HubModel) and prepared.stored:
                self._announce_features(prepared, recipe.model)

    def _announce_features(self, prepared: PreparedData, model: HubModel) -> None:
        """Says how large the table of a data set's features is going to be. Raises PipelineError where there is no room
        for it."""
        if self.store.list_files(features_folder(prepared.fingerprint)):
            return  # it has been begun
        expected = size_estimate.estimate_features(prepared, model)
        say(self.progress.console, f"features: {expected.text}, stored once for all trials")
        most = self.settings.max_clips_gb * 1e9
        size_estimate.check_room(expected, self.store.uri, most, way_out=size_estimate.RECOMPUTE)

    def run(self, specs: Sequence[TrialSpec], primary: Mapping[str, str]) -> list[WaveTiming]:
        """Runs a wave (`tune_scheduler.run_wave`), then once more what the store or a dead process interrupted (it goes
        on from its last saved step), then what other drivers were running and did not finish."""
        timings, tried_again, prefix = [], set[str](), ""
        while specs:
            arms = list(dict.fromkeys(spec.arm for spec in specs))
            more = f" and {len(arms) - NAMED_ARMS} more" if len(arms) > NAMED_ARMS else ""
            self.progress.wave(prefix + ", ".join(arms[:NAMED_ARMS]) + more, len(specs))
            timings.append(
                tune_scheduler.run_wave(
                    specs,
                    primary=primary,
                    store=self.store,
                    slots=self.slots,
                    micro_batch=self.settings.micro_batch,
                    saving=self.saving,
                    progress=self.progress,
                )
            )
            interrupted = [s for s in faults.interrupted(self.store, specs) if s.trial_id not in tried_again]
            tried_again.update(spec.trial_id for spec in interrupted)
            prefix = "again, after the store or a process failed: " if interrupted else ""
            specs = [*interrupted, *(spec for spec in specs if spec.trial_id in self.progress.held_elsewhere())]
            while specs and all(evaluations.is_held(spec, self.store) for spec in specs):
                self.progress.stage("waiting for other drivers", 0, 0)
                time.sleep(HELD_POLL_S)
        return timings


@contextmanager
def run_session(store: SweepStore, settings: Settings, console: Console) -> Iterator[RunSession]:
    """A session that ends with the block. Raises PlanError when a trial cannot fit the cluster; prints a line when
    resources are still held at the end."""
    cluster.check_durable(store.uri)
    with cluster.ray_session(), SweepProgress(console) as progress:
        slots = cluster.slots(
            workers=settings.workers,
            gpu=settings.gpu,
            concurrency=settings.concurrency,
            shard=settings.shard,
            decode_cpus=settings.decode_cpus,
            features=settings.features,
        )
        yield RunSession(store, settings, slots, progress)
        if not cluster.whole():
            problem = "some of the cluster's resources are still held, by this run or by other jobs"
            say(console, f"after {cluster.RELEASE_S:.0f} s {problem}", "yellow")
