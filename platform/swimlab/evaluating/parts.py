"""The files of a generation. Parts are fixed before the first answer, so that nothing depends on who made which.

    generations/<generation_id>/plan.json                  create-only: what is generated, and how it is cut into parts
    generations/<generation_id>/part-<n>-<sha>.parquet     the answers of one part
    generations/<generation_id>/done-<n>.json              receipt of a finished part, which a later run skips

A run that is killed repeats the parts without a receipt: at most one for each of its workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import FiniteFloat

from swim.outputs import Answer
from swimlab.evaluating.generation import Generation
from swimlab.store import arrow_tables
from swimlab.store.attempts import entry_of
from swimlab.store.errors import StoreError
from swimlab.store.records import FileEntry
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore


class GenerationPlan(SealedModel):
    """A generation over `clips` clips in the order of their keys, `part_clips` of them to a part."""

    generation: Generation
    clips: int
    part_clips: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.clips // self.part_clips)

    def clips_of(self, number: int) -> range:
        """The clips of a part, by number."""
        return range(number * self.part_clips, min((number + 1) * self.part_clips, self.clips))


class PartReceipt(SealedModel):
    """A finished part: the file of its answers, the numerics class in which they were computed and how long that took.
    `failed`: answers that a server refuses to give."""

    number: int
    file: str
    entry: FileEntry
    answers: int
    failed: int
    numerics: dict[str, str | int]
    generated_s: FiniteFloat


@dataclass(frozen=True)
class StoredGeneration:
    """A generation in a store."""

    store: SweepStore
    plan: GenerationPlan

    @classmethod
    def create(cls, store: SweepStore, generation: Generation, clips: int, part_clips: int) -> StoredGeneration:
        """The generation with its plan in the store, which is an earlier one if there is any: parts stay as they were
        first cut. Its files may have been elsewhere then."""
        plan = GenerationPlan(generation=generation, clips=clips, part_clips=part_clips)
        store.put_create_only(f"{folder(generation.generation_id)}/plan.json", plan.to_json())
        first = cls.load(store, generation.generation_id).plan
        return cls(store, first.model_copy(update={"generation": generation}))

    @classmethod
    def load(cls, store: SweepStore, generation_id: str) -> StoredGeneration:
        """Raises StoreError when there is none, or its plan is damaged."""
        path = f"{folder(generation_id)}/plan.json"
        try:
            plan = _read(store, path, GenerationPlan)
        except FileNotFoundError as error:
            raise StoreError(f"{store.uri} has no generation {generation_id}: generate the answers first") from error
        return cls(store, plan)

    @property
    def folder(self) -> str:
        """Where its files are, relative to the store."""
        return folder(self.plan.generation.generation_id)

    def missing(self) -> list[int]:
        """The parts without a receipt, by one listing."""
        names = {path.rpartition("/")[2] for path in self.store.list_files(self.folder)}
        return [number for number in range(self.plan.parts) if _receipt_name(number) not in names]

    def put(self, number: int, answers: Sequence[Answer], numerics: Mapping[str, str | int], seconds: float) -> None:
        """Write a part and its receipt. Of two writers the first one's receipt counts."""
        data = arrow_tables.to_parquet(arrow_tables.answers_table(answers))
        entry = entry_of(data)
        file = f"part-{number:06d}-{entry.sha256[:12]}.parquet"
        self.store.put_create_only(f"{self.folder}/{file}", data)
        receipt = PartReceipt(
            number=number,
            file=file,
            entry=entry,
            answers=len(answers),
            failed=sum(answer.finish == "failed" for answer in answers),
            numerics=dict(numerics),
            generated_s=seconds,
        )
        self.store.put_create_only(f"{self.folder}/{_receipt_name(number)}", receipt.to_json())

    def receipts(self) -> list[PartReceipt]:
        """The receipts of all parts. Raises StoreError when one is missing or damaged."""
        if missing := self.missing():
            raise StoreError(
                f"generation {self.plan.generation.generation_id} lacks {len(missing)} of {self.plan.parts} parts: run "
                "the same command again"
            )
        return [_read(self.store, f"{self.folder}/{_receipt_name(n)}", PartReceipt) for n in range(self.plan.parts)]

    def answers(self) -> list[Answer]:
        """All answers, in the order of the clips and their turns. Raises StoreError when a file is missing, or is not
        what was written."""
        answers: list[Answer] = []
        for receipt in self.receipts():
            path = f"{self.folder}/{receipt.file}"
            try:
                data = self.store.read(path)
            except FileNotFoundError:
                data = b""
            if entry_of(data) != receipt.entry:
                raise StoreError(
                    f"{self.store.uri}/{path} is missing or not what was written: delete "
                    f"{self.folder}/{_receipt_name(receipt.number)} to have the part generated again"
                )
            answers += arrow_tables.answers_from_table(arrow_tables.from_parquet(data))
        return answers


def folder(generation_id: str) -> str:
    """Where a generation's files are, relative to the store."""
    return f"generations/{generation_id}"


def _receipt_name(number: int) -> str:
    return f"done-{number:06d}.json"


def _read(store: SweepStore, path: str, model: type[Any]) -> Any:
    data = store.read(path)
    try:
        return model.from_json(data)
    except ValueError as error:
        raise StoreError(
            f"{store.uri}/{path} is damaged ({error}); delete it and run the same command again"
        ) from error
