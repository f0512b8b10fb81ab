"""Teacher-forced answers: of every token of the answers, whether the model's most likely next token is the true one.

N labelled tokens, V words; other dimensions as in `swim.supervision.objective`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch

from swim.data.encode import Batch
from swim.evaluation.answer_ceiling import guesses
from swim.evaluation.breakdown import Breakdown, Scored, Turn, breakdown
from swim.outputs import SampleScore


def slot_margins(batch: Batch, lm_head: torch.nn.Module, hidden_BLD: torch.Tensor) -> list[float]:
    """For each slot of the answers, in order: the log-probability of its first token less that of the likeliest other
    token, in nats."""
    places = [(b, tokens[0]) for b, sample in enumerate(batch.samples) for _, _, tokens in sample.slots]
    if not places:
        return []
    b_S, place_S = torch.tensor(places, device=hidden_BLD.device).T
    logits_SV = lm_head(hidden_BLD[b_S, place_S - 1]).float()
    true_S1 = batch.tokens["input_ids"][b_S, place_S][:, None]
    others_SV = logits_SV.scatter(1, true_S1, -torch.inf)
    margins: list[float] = (logits_SV.gather(1, true_S1)[:, 0] - others_SV.amax(1)).tolist()
    return margins


def answer_scores(batch: Batch, lm_head: torch.nn.Module, hidden_BLD: torch.Tensor) -> list[SampleScore]:
    """Token accuracy and loss of each conversation, accuracy and ceiling of each slot of its answers."""
    rows = []
    for b, sample in enumerate(batch.samples):
        labelled = (sample.labels_L[1:] >= 0).nonzero()[:, 0]
        logits_NV = lm_head(hidden_BLD[b, labelled.to(hidden_BLD.device)]).float()
        target_N = sample.labels_L[1:][labelled].to(logits_NV.device)
        right_N = (logits_NV.argmax(-1) == target_N).cpu().numpy()
        loss = float(torch.nn.functional.cross_entropy(logits_NV, target_N))
        right_at = dict(zip((labelled + 1).tolist(), right_N, strict=True))
        where = {"key": sample.clip.key, "tag": -1, "noun": ""}
        rows += [
            SampleScore(**where, turn=-1, metric="answer.token_accuracy", value=float(right_N.mean())),
            SampleScore(**where, turn=-1, metric="answer.loss", value=loss),
        ]
        for (turn, slot, positions), guessed in zip(sample.slots, guesses(sample.clip.turns), strict=True):
            hit = float(all(right_at[p] for p in positions))
            rows.append(SampleScore(**where, turn=turn, metric=f"answer.accuracy.{slot.name}", value=hit))
            rows.append(SampleScore(**where, turn=turn, metric=f"answer.ceiling.{slot.name}", value=float(guessed)))
    return rows


def answers_by_object(rows: Iterable[SampleScore], cells: Mapping[Turn, Sequence[float]]) -> Breakdown:
    """The slots of each turn by the sizes of its objects, `cells`, and by where its nouns look. `rows` are those of
    `answer_scores` and of the nouns' maps."""
    slots, peaks = defaultdict[Turn, list[float]](list), defaultdict[Turn, list[float]](list)
    for row in rows:
        if row.metric.startswith("answer.accuracy."):
            slots[row.key, row.turn].append(row.value)
        elif row.metric == "attention.pointing":
            peaks[row.key, row.turn].append(row.value)
    scored = [Scored.of(turn, values, all(values), cells.get(turn, ()), peaks[turn]) for turn, values in slots.items()]
    return breakdown("answer", "accuracy", scored)
