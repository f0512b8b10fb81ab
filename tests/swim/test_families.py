"""Five stock model families: what the probe reads is their attention, and the adapters know where their video is."""

import copy
import math

import pytest
import torch
from tiny_families import FAMILIES, IGNORE, PATCH_PX, Sample, build, collate, samples, tokenize
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from swim.data.documents import Noun, documents
from swim.data.family import family_of
from swim.data.positions import with_positions
from swim.models.vision import pad_mlps, use_varlen_attention
from swim.recipe import Objective, Readout
from swim.supervision.attention import attach
from swim.supervision.maps import plan_reading
from swim.supervision.objective import SupervisedModel

LAYERS = (0, 2)
CPU = torch.device("cpu")
families = pytest.mark.parametrize("name", FAMILIES)
sides = pytest.mark.parametrize("side", ["right", "left"])


def keeping(module, query, key, value, attention_mask, kept, **kwargs):
    """Eager attention that hands out its inputs, which `output_attentions` does not show."""
    kept[module.layer_idx] = (query, key, kwargs["scaling"])
    grouped = [x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value)]
    weights = query @ grouped[0].transpose(2, 3) * kwargs["scaling"] + attention_mask
    weights = weights.softmax(-1)
    return (weights @ grouped[1]).transpose(1, 2).contiguous(), weights


@pytest.fixture(scope="module", autouse=True)
def _keeping():
    AttentionInterface.register("keeping", keeping)
    AttentionMaskInterface.register("keeping", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def expected(eager, inputs, reading, domain):
    """The probe's maps from whole attention matrices: one [S, rows, K] a document with nouns."""
    probe, kept = reading.probe, {}
    eager.get_decoder().config._attn_implementation = "keeping" if domain == "all" else "eager"
    extra = {"kept": kept} if domain == "all" else {"output_attentions": True}
    attentions = eager(**inputs, **extra, use_cache=False).attentions
    maps = []
    for n, row in enumerate(probe.row_N):
        read = [r for r in reading.reads if r.n == n]
        rows, columns = probe.rows_NR[n, : read[-1].rows.stop], probe.columns_NK[n, probe.valid_NK[n]]
        T, H, W = read[0].visual.grid
        assert len(columns) == T * H * W
        per_layer = []
        for layer in probe.layers:
            if domain == "all":
                query_HLD, key_GLD, scaling = kept[layer][0][row].double(), kept[layer][1][row].double(), kept[layer][2]
                start, end = probe.start_N[n], probe.end_N[n]
                key_HLD = key_GLD.repeat_interleave(2, 0)[:, start:end]
                a_HRK = (query_HLD[:, rows] @ key_HLD.transpose(1, 2) * scaling).softmax(-1)[..., columns - start]
            else:
                a_HRK = attentions[layer][row][:, rows][..., columns]
            if domain == "video":
                a_HRK = a_HRK / a_HRK.sum(-1, keepdim=True)
            if domain == "frame":
                a_HRTX = a_HRK.unflatten(-1, (T, H * W))
                a_HRK = (a_HRTX / a_HRTX.sum(-1, keepdim=True)).flatten(-2)
            per_layer.append(a_HRK.mean(0))
        maps.append(torch.stack(per_layer))
    return maps


@families
@sides
@pytest.mark.parametrize("domain", ["video", "frame", "all-causal", "all"])
def test_the_probe_is_eager_attention_and_so_is_its_gradient(name, side, domain):
    model, family = build(name), FAMILIES[name]
    inputs, _, nouns = collate(family, samples(family), side)
    eager = copy.deepcopy(model)
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    attach(model)
    readout = Readout(layers=LAYERS, query="noun-mean", domain=domain)
    reading = plan_reading(documents(model.config, inputs), nouns, readout, model, CPU)
    assert torch.equal(model(**inputs, use_cache=False, probe=reading.probe).logits, logits)
    assert torch.equal(model(**inputs, use_cache=False).logits, logits)

    wanted = expected(eager, inputs, reading, domain)
    a_SNRK = reading.probe.stacked_SNRK()
    found = [a_SNRK[:, n, : w.shape[1], : w.shape[2]] for n, w in enumerate(wanted)]
    assert [w.shape[1] for w in wanted] == [6, 5, 3]
    # Far from uniform: had the probe read other rows or columns, these would not agree by chance.
    assert all((w.std(-1) > 1e-4).all() for w in wanted)
    assert all((f - w).abs().max() < 1e-6 for f, w in zip(found, wanted, strict=True))

    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(w.shape, generator=generator) for w in wanted]
    for maps in (found, wanted):
        sum((m * w).sum() for m, w in zip(maps, weights, strict=True)).backward()
    pairs = {path: (p.grad, q.grad) for (path, p), q in zip(model.named_parameters(), eager.parameters(), strict=True)}
    assert all((found is None) == (wanted is None) for found, wanted in pairs.values())
    pairs = {path: pair for path, pair in pairs.items() if pair[0] is not None}
    assert any("vis" in path for path in pairs)
    total = torch.stack([wanted.norm() for _, wanted in pairs.values()]).norm()
    errors = {path: float((g - w).norm() / max(w.norm(), 1e-3 * total)) for path, (g, w) in pairs.items()}
    # What little a key's bias gets is the rest of sums that cancel: 1.03e-5 was seen on one machine.
    assert {path: e for path, e in errors.items() if e > 2e-5} == {}
    assert torch.stack([(g - w).norm() for g, w in pairs.values()]).norm() <= 1e-5 * total


@families
@sides
def test_a_batch_is_the_sum_of_its_singles(name, side):
    family, batch = FAMILIES[name], samples(FAMILIES[name])
    objective = Objective(layers=LAYERS, query="each-before", fusion="mean", text_weight=1.0)
    supervised = SupervisedModel(build(name), objective)
    with torch.no_grad():
        together = supervised(*collate(family, batch, side))
        singles = [supervised(*collate(family, [sample])) for sample in batch]
    assert together.text_count == sum(s.text_count for s in singles) > 20
    assert together.mask_count == sum(s.mask_count for s in singles) > 10
    assert [s.mask_count > 0 for s in singles] == [True, True, True, False]
    torch.testing.assert_close(together.text_sum, sum(s.text_sum for s in singles), rtol=1e-5, atol=0)
    torch.testing.assert_close(together.mask_sum, sum(s.mask_sum for s in singles), rtol=1e-5, atol=0)
    weighted = sum(s.mask * s.mask_count for s in singles) / together.mask_count
    torch.testing.assert_close(together.mask, weighted, rtol=1e-5, atol=0)


@families
def test_a_packed_row_is_the_sum_of_its_documents(name):
    """Without an attention mask, positions that restart at 0 part the documents, for the model and for `documents`."""
    model, family, batch = build(name), FAMILIES[name], samples(FAMILIES[name])
    supervised = SupervisedModel(model, Objective(layers=LAYERS, domain="all"))
    alone = [collate(family, [sample]) for sample in batch]
    ids_BL = torch.cat([inputs["input_ids"] for inputs, _, _ in alone], 1)
    position_ids = torch.cat([torch.arange(len(sample.ids)) for sample in batch])[None]
    if hasattr(model.model, "get_rope_index"):
        text = torch.arange(len(batch[-1].ids)).expand(3, 1, -1)
        spatial = [with_positions(model.config, inputs).get("position_ids", text) for inputs, _, _ in alone]
        position_ids = torch.cat([position_ids[None], torch.cat(spatial, 2)])
    videos = family.pixels([sample.video for sample in batch if sample.video is not None])
    labels_BL = torch.cat([labels for _, labels, _ in alone], 1)
    starts = torch.tensor([0, *(len(sample.ids) for sample in batch)]).cumsum(0)[:-1].tolist()
    nouns = [
        [Noun(tuple(t + start for t in noun.tokens), noun.masks) for noun in sample.nouns]
        for sample, start in zip(batch, starts, strict=True)
    ]
    packed = {"input_ids": ids_BL, "position_ids": position_ids} | family.text(ids_BL) | videos
    with torch.no_grad():
        together = supervised(packed, labels_BL, nouns)
        singles = [supervised(*args) for args in alone]
    assert together.mask_count == sum(s.mask_count for s in singles) > 10
    assert together.text_count == sum(s.text_count for s in singles)
    torch.testing.assert_close(together.text_sum, sum(s.text_sum for s in singles), rtol=1e-5, atol=0)
    torch.testing.assert_close(together.mask_sum, sum(s.mask_sum for s in singles), rtol=1e-5, atol=0)


@families
def test_a_cell_of_pixels_is_its_column_in_raster_order(name):
    """Without attention in the vision tower a patch speaks for itself alone: repaint one cell of one step's frames, and
    see which positions of the row the language model receives anew."""
    model, family = build(name), FAMILIES[name]
    for path, module in model.named_modules():
        if path.endswith(family.attention_outputs):
            nn.init.zeros_(module.weight)
    received = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: received.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    batch = samples(family)[:3]

    def embeds():
        inputs = collate(family, batch)[0]
        with torch.no_grad():
            model(**inputs, use_cache=False)
        return inputs, received.pop()

    inputs, before_BLD = embeds()
    for document, sample in zip(documents(model.config, inputs), batch, strict=True):
        T, H, W = document.visual.grid
        assert document.visual.grid == family.grid(sample.video)
        assert document.visual.frames_per_patch == family.frames_per_patch
        assert T * document.visual.frames_per_patch == len(sample.video)
        for t, y, x in torch.cartesian_prod(*map(torch.arange, (T, H, W))).tolist():
            # Whole patches inside the cell: where tokens are pooled from 5 patches, those at its edge serve two.
            low_y, low_x = (math.ceil(i * family.cell_px / PATCH_PX) * PATCH_PX for i in (y, x))
            high_y, high_x = (math.floor((i + 1) * family.cell_px / PATCH_PX) * PATCH_PX for i in (y, x))
            steps = slice(t * family.frames_per_patch, (t + 1) * family.frames_per_patch)
            cell = sample.video[steps, :, low_y:high_y, low_x:high_x]
            kept = cell.clone()
            cell.neg_()
            moved_BL = (embeds()[1] - before_BLD).norm(dim=-1)
            cell.copy_(kept)
            column = int(document.visual.columns_K[(t * H + y) * W + x])
            assert moved_BL.nonzero().tolist() == [[document.row, column]]


def locate(name, model, inputs, nth=0):
    return family_of(model.config).locate(inputs, inputs["input_ids"][0], nth)


@families
def test_tokens_that_do_not_fill_the_grid_are_refused(name):
    model, family = build(name), FAMILIES[name]
    sample = samples(family)[0]
    inputs = collate(family, [sample])[0]
    columns = locate(name, model, inputs).columns_K
    cut = inputs | {"input_ids": inputs["input_ids"][:, : columns[-1]]}
    with pytest.raises(ValueError, match="do not truncate"):
        locate(name, model, cut)
    with pytest.raises(ValueError, match=r"video 0 \(counted from 0\)"):
        documents(model.config, cut | {"attention_mask": torch.ones_like(cut["input_ids"])})
    text = tokenize("no video")
    assert locate(name, model, {"input_ids": torch.tensor([text])}) is None


@families
def test_two_videos_in_one_sample_are_refused(name):
    model, family = build(name), FAMILIES[name]
    video = samples(family)[0].video
    ids = 2 * tokenize(family.placeholder(video)) + tokenize("Which?")
    one = collate(family, [Sample(ids, [IGNORE] * len(ids), video, ())])[0]
    with pytest.raises(ValueError, match="several videos in one sample are not supported"):
        locate(name, model, one | family.pixels([video, video]))


def test_qwen_grids_must_come_with_the_videos():
    family, model = FAMILIES["qwen3_vl"], build("qwen3_vl")
    inputs = collate(family, samples(family)[:1])[0]
    with pytest.raises(ValueError, match="1 rows: pass the processor's"):
        locate("qwen3_vl", model, inputs, nth=1)
    del inputs["video_grid_thw"]
    with pytest.raises(ValueError, match="0 rows: pass the processor's"):
        locate("qwen3_vl", model, inputs)


def test_llava_counts_frames_by_its_tokens_where_features_come_ready_made():
    family, model = FAMILIES["llava_onevision"], build("llava_onevision")
    inputs = collate(family, samples(family)[:1])[0]
    del inputs["pixel_values_videos"]
    assert locate("llava_onevision", model, inputs).grid == (3, 3, 3)


def test_tiles_of_a_split_image_are_no_frames():
    model, image = build("smolvlm"), "<image>" * 9

    def refused(text, match):
        with pytest.raises(ValueError, match=match):
            locate("smolvlm", model, {"input_ids": torch.tensor([tokenize(text)])})

    # `_prompt_split_image` of processing_smolvlm.py: every tile has its own <row_i_col_j>, the whole image comes last.
    refused(f"<fake>1{image}<fake>2{image}\n\n<fake><global>{image}<fake>What?", "tiles of a split image")
    refused(f"{image}What?", "tiles of a split image")
    refused("<global>" + 8 * "<image>", "image_seq_len")
    refused("<global>" + 10 * "<image>" + "<global>" + 8 * "<image>", "no runs of 3 × 3")


def test_black_padding_frames_are_not_counted_and_rows_of_them_are_passed_over():
    family, model = FAMILIES["smolvlm"], build("smolvlm")
    batch = samples(family)
    inputs, _, _ = collate(family, [batch[3], *batch[:3]])
    # Image processors give a sample without images a row of padding; video processors give it no row.
    padded = {
        key: torch.cat([torch.zeros_like(value[:1]), value])
        for key, value in family.pixels([s.video for s in batch[:3]]).items()
    }
    for given in (inputs, inputs | padded):
        found = [document.visual and document.visual.grid for document in documents(model.config, given)]
        assert found == [None, (3, 3, 3), (1, 3, 3), (2, 3, 3)]


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_tower_prepared_for_a_gpu_gives_the_same_logits(name):
    """One attention call a layer, and padded MLPs: what `prepare_vision` does to every tower laid out as Qwen's."""
    model, family = build(name).requires_grad_(False), FAMILIES[name]
    inputs = collate(family, samples(family)[:3])[0]
    logits = model(**inputs).logits
    use_varlen_attention(model.model.visual)
    assert pad_mlps(model.model.visual) == 2
    torch.testing.assert_close(model(**inputs).logits, logits, atol=1e-5, rtol=1e-5)
