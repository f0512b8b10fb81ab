"""The snippets as printed: a changed character fails also where Python would not notice."""

PYARROW = """\
import pyarrow.dataset as ds

trials = ds.dataset("swimlab-store/tables/trials").to_table()
samples = ds.dataset("swimlab-store/tables/samples").to_table()
print(trials.select(["trial_id", "recipe_name", "objective.fusion", "seed", "attention.ap"]).to_pandas())
print(samples.filter(ds.field("metric") == "attention.ap").to_pandas().groupby(["trial_id", "noun"])["value"].mean())
"""

DUCKDB = '''\
import duckdb

print(
    duckdb.sql("""
    select arm, count(*) as seeds, avg("attention.ap") as ap, stddev("attention.ap") as sd
    from 'swimlab-store/tables/arms/*.parquet' join 'swimlab-store/tables/trials/*.parquet' using (trial_id)
    where experiment = 'fusion' and recipe = 'tiny-hard-look'
    group by arm order by ap desc
""")
)
'''

ANSWERS = '''\
import duckdb

print(
    duckdb.sql("""
    with answers as (
        pivot (from read_parquet('swimlab-store/tables/samples/*.parquet', union_by_name = true))
        on metric in ('answer.cells', 'answer.on_object', 'answer.right') using first(value)
        group by trial_id, key, turn
    )
    select "answer.on_object" as looks_at_it, "answer.cells" < 4 as small, count(*) as answers,
        avg("answer.right") as share_right
    from answers where "answer.right" is not null group by all order by all
""")
)
'''

EXPERIMENT = '''\
"""Does the best weight of the mask loss depend on the layers?"""

from swimlab import Ablation, Arm, Better, Metric, Paper, main

WEIGHT_BY_LAYERS = Ablation(
    name="weight-by-layers",
    question="Does the best weight of the mask loss depend on the layers?",
    arms=[
        Arm(f"{layers}, weight {weight:g}", {"objective.layers": layers, "objective.mask_weight": weight})
        for layers in ("even:2", "last:1")
        for weight in (0.3, 1.0, 3.0)
    ],
    seeds=(0, 1, 2),
    metrics=[Metric("attention.ap", primary=True), Metric("answer.accuracy")],
    paper=Paper("Not in the paper", claims=[Better("even:2, weight 1", "last:1, weight 1", margin=0.01)]),
    recipe="tiny-hard-look",
)

if __name__ == "__main__":
    main(WEIGHT_BY_LAYERS)
'''

LOSS = """\
import torch.nn.functional as F
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    return F.huber_loss(map_PHW, mask_PHW, reduction="none").mean((1, 2))
"""

TRAINER = """\
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from swim.data.masks.encodings import to_rle
from swim.recipe import Objective
from swim.data.documents import tagged_nouns
from swim.supervision.objective import SupervisedModel

model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, use_safetensors=True)
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
supervised = SupervisedModel(model, Objective(layers="even:6"))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
for text, inputs, labels, segmentations in loader:
    tracks = [{slot: to_rle(mask) for slot, mask in frames.items()} for frames in segmentations]
    nouns = tagged_nouns(tokenizer, text, tracks, inputs)
    with torch.autocast(inputs["input_ids"].device.type, torch.bfloat16):
        losses = supervised(inputs, labels, [nouns])
    supervised.total(losses).backward()
    optimizer.step()
    optimizer.zero_grad()
"""
