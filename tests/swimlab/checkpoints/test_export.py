"""Exported checkpoints: others load them, and they answer as `swimlab ask` does."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from store_kit import plausible_record
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from swim import models
from swim.data.encode import collate
from swim.data.family import family_of
from swim.data.synthetic import shapes_world
from swim.data.types import Clip
from swim.evaluation.generate import Prompt, encode_prompt
from swim.models import tiny
from swim.outputs import Answer
from swim.recipe import FramePolicy, HubModel, Lora, Recipe, ShapesWorld, TinyModel
from swimlab.checkpoints import chat_template, export
from swimlab.checkpoints.asking import answer, clip_of
from swimlab.checkpoints.load import load
from swimlab.checkpoints.processor_files import frame_policy, processor_config
from swimlab.report.model_card import model_card
from swimlab.report.page_summaries import ArmSummary, ClaimSummary, TableSummary
from swimlab.store import query
from swimlab.store.errors import StoreError
from swimlab.store.newest_results import newest_results
from swimlab.store.sweep_store import SweepStore

QUESTION = "Describe the lemon."
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trial(trained_store: SweepStore) -> str:
    (trial_id,) = [t for t, shown in query.arms_by_trial(trained_store).items() if shown[0].arm == "swim"]
    return trial_id


@pytest.fixture(scope="module")
def exported(trained_store: SweepStore, trial: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "of" / "swim"
    result = newest_results(trained_store, [trial])[trial]
    export.write_checkpoint(trained_store, result, out, "merged", model_card(trained_store, result, adapters=False))
    return out


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("video")
    (row,) = shapes_world.write(ShapesWorld(clips=1, held_out=1), "held_out", range(1), folder)
    return str(folder / row["video"])


def test_the_folder_has_what_a_repository_of_the_hub_has(exported: Path, trained_store: SweepStore, trial: str) -> None:
    names = {path.name for path in exported.iterdir()}
    assert names == {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    with safe_open(exported / "model.safetensors", "pt") as weights:
        roots = {name.split(".")[0] for name in weights.keys()}  # noqa: SIM118  # no mapping
    assert roots == {"lm_head", "model", "visual"}  # the names of Qwen/Qwen2.5-VL-7B-Instruct
    stored = trained_store.open_file(trial, "checkpoint/model.safetensors")
    assert (exported / "model.safetensors").read_bytes() == stored


def test_the_card_has_the_evidence(exported: Path, trained_store: SweepStore, trial: str) -> None:
    card = (exported / "README.md").read_text()
    result = newest_results(trained_store, [trial])[trial]
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: video-text-to-text\n")
    for fact in (trial, result.code_fingerprint, result.data_fingerprint, result.evaluations[0].evaluation_id):
        assert fact in card
    assert f"| attention.ap | {result.metrics['attention.ap']:.3f} |" in card
    assert json.loads(card.split("```json\n")[1].split("```")[0]) == result.recipe
    assert "A tiny model" in card
    assert "fine-tuned with SWIM" in card
    (control,) = [t for t, shown in query.arms_by_trial(trained_store).items() if shown[0].arm == "control"]
    of_control = model_card(trained_store, newest_results(trained_store, [control])[control], adapters=False)
    assert "without SWIM's mask loss" in of_control


def test_the_card_has_the_verdict_rows_of_the_tables_that_show_the_trial(
    trained_store: SweepStore, trial: str, tmp_path: Path
) -> None:
    result = newest_results(trained_store, [trial])[trial]
    claim = ClaimSummary(
        text="swim > control", verdict="UNDERPOWERED", direction_only=True, difference=0.12, low=-0.1, high=0.34,
        p_holm=0.2, seeds=3, evidence="1a2b3c4d",
    )  # fmt: skip
    arm = ArmSummary(name="swim", same_as=None, paper=3.78, mean=0.5, low=0.4, high=0.6, seeds=3, evidence="aa")
    shown = TableSummary(
        name="control", title="The control", question="Does the mask loss do it?", recipe="nano", comparable=False,
        mixed=False, metric="attention.ap", standin=True, reference="control", claims=(claim,), arms=(arm,),
        seeds=(0, 1, 2), planned=6, done={trial: 1.0}, protocol="", amended=False, last_finished="",
    )  # fmt: skip
    store = SweepStore(str(tmp_path))
    for name, table in (("control", shown), ("other", shown.model_copy(update={"title": "Other", "done": {"t": 1.0}}))):
        store.backend.replace(f"reports/{name}/nano/table.json", table.model_dump_json().encode())
    card = model_card(store, result, adapters=False)
    assert "| swim &gt; control | UNDERPOWERED (direction only) | +0.120 | −0.100 to 0.340 | 1a2b3c4d |" in card
    qualified = claim.model_copy(update={"verdict": "REPRODUCED", "not_mediated": True})
    table = shown.model_copy(update={"claims": (qualified,)})
    store.backend.replace("reports/control/nano/table.json", table.model_dump_json().encode())
    card_of_qualified = model_card(store, result, adapters=False)
    assert "| swim &gt; control | REPRODUCED (direction only, NOT MEDIATED) |" in card_of_qualified
    assert "| swim | 0.500 | 0.400 to 0.600 | 3.78 |" in card
    assert "Other" not in card


@pytest.fixture(scope="module")
def talkative(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a head that makes long answers: of four steps of training they are a word long."""
    folder = tmp_path_factory.mktemp("talkative") / "model"
    shutil.copytree(exported, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"].normal_(generator=torch.Generator().manual_seed(1))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def asked(source: str, store: SweepStore, video: str) -> tuple[Answer, dict[str, torch.Tensor], Clip]:
    """What `swimlab ask` answers, the inputs it gave the model, and the clip."""
    with load(source, store.uri, CPU) as model:
        clip = clip_of(video, QUESTION, model.recipe.data.frames)
        encoded, _ = encode_prompt(model.trained.encoder, Prompt(clip, QUESTION))
        return answer(model, clip, QUESTION, 12), collate([encoded], 0).inputs, clip


def said_by_stock(folder: Path, inputs: dict[str, torch.Tensor]) -> list[int]:
    stock = AutoModelForImageTextToText.from_pretrained(folder)
    tokens = stock.generate(**inputs, do_sample=False, max_new_tokens=12)
    words: list[int] = tokens[0, inputs["input_ids"].shape[1] :].tolist()
    return words


CHAT = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]


def test_the_stock_classes_answer_as_ask_does(talkative: Path, trained_store: SweepStore, video: str) -> None:
    said, inputs, _ = asked(str(talkative), trained_store, video)
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    pads = int((inputs["mm_token_type_ids"] == 2).sum())
    ids = tokenizer(text.replace("<|video_pad|>", "<|video_pad|>" * pads))["input_ids"]
    assert [ids] == inputs["input_ids"].tolist()
    assert len(said.token_ids) == 12
    assert said_by_stock(talkative, inputs) == list(said.token_ids)


def test_the_folder_answers_as_its_trial(exported: Path, trained_store: SweepStore, trial: str, video: str) -> None:
    of_trial, of_folder = (asked(source, trained_store, video) for source in (trial, str(exported)))
    assert of_trial[0] == of_folder[0]  # how far each token leads, too
    assert (of_trial[2].frames_THWC == of_folder[2].frames_THWC).all()


def test_nothing_is_overwritten_and_nothing_half_is_left(trained_store: SweepStore, trial: str, tmp_path: Path) -> None:
    result = newest_results(trained_store, [trial])[trial]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty: name a new folder"):
        export.write_checkpoint(trained_store, result, tmp_path / "out", "merged", "card")
    gone = result.model_copy(update={"recipe": result.recipe | {"data": result.recipe["data"] | {"frames": 3}}})
    with pytest.raises(ValueError, match="frames"):
        export.write_checkpoint(trained_store, gone, tmp_path / "new", "merged", "card")
    with pytest.raises(ValueError, match=r"trained whole weights .* leave --adapters out"):
        export.write_checkpoint(trained_store, result, tmp_path / "new", "adapters", "card")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "empty").mkdir()
    export.write_checkpoint(trained_store, result, tmp_path / "empty", "merged", "card")
    assert (tmp_path / "empty" / "README.md").read_text() == "card"


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepStore, Path]:
    """A store with the trial "lora", adapters on a base in a folder."""
    folder = tmp_path_factory.mktemp("adapted")
    shape = TinyModel(hidden=32, heads=2, kv_heads=1, intermediate=32, vision_hidden=16, vision_depth=1, layers=3)
    models.save(*tiny.build(shape), folder / "base")
    spec = HubModel(path=str(folder / "base"), layers=3, cell_px=8, lora=Lora(rank=2), gradient_checkpointing=False)
    with torch.random.fork_rng():
        # PEFT draws the adapters from torch's own generator: of 12 draws one rounded to bf16 answers 0.24 differently.
        torch.manual_seed(1)
        model, tokenizer = models.build(spec)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    models.save(model, tokenizer, folder / "checkpoint")
    recipe = Recipe(name="lora", model=spec, data=ShapesWorld(), objective={"layers": (1, 2)})
    store = SweepStore(str(folder / "store"))
    attempt = store.claim("lora")
    assert attempt is not None
    attempt.put_dir(folder / "checkpoint", "checkpoint")
    record = plausible_record(
        trial_id="lora", attempt=attempt.number, nonce=attempt.nonce, files=attempt.files, recipe=recipe.training()
    )
    assert store.commit(attempt, record)
    return store, folder / "base"


def logits(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits.float()
    return found


def test_adapters_alone_are_the_merged_model_on_their_base(adapted: tuple[SweepStore, Path], tmp_path: Path) -> None:
    store, base = adapted
    record = store.records()["lora"]
    merged = export.write_checkpoint(store, record, tmp_path / "merged", "merged", "card")
    alone = export.write_checkpoint(store, record, tmp_path / "alone", "adapters", "card")
    assert not [path for path in merged if "adapter" in str(path)]
    assert {"adapter_model.safetensors", "adapter_config.json", "processor_config.json"} <= set(map(str, alone))
    assert not {"model.safetensors", "config.json"} & set(map(str, alone))
    inputs = {"input_ids": torch.arange(20, 40)[None]}
    whole, on_base, before = (
        logits(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32), inputs)
        for folder in (tmp_path / "merged", tmp_path / "alone", base)
    )
    # The base is bf16 here, and so are merged weights.
    torch.testing.assert_close(whole, on_base, atol=0.05, rtol=0.05)
    assert (on_base - before).abs().max() > 10 * (whole - on_base).abs().max()
    text = AutoTokenizer.from_pretrained(tmp_path / "alone").apply_chat_template(CHAT, tokenize=False)
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"init": "itself"}, "leave --adapters out"),
        ({"files": {}}, "stored when adapters were only merged"),
    ],
)
def test_adapters_that_nobody_could_load_are_refused(
    adapted: tuple[SweepStore, Path], tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    store, _ = adapted
    record = store.records()["lora"]
    if "init" in changes:
        changes = {"recipe": record.recipe | {"init": record.recipe}}
    with pytest.raises(ValueError, match=says):
        export.write_checkpoint(store, record.model_copy(update=changes), tmp_path / "out", "adapters", "card")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_was_not_kept_says_what_to_do(trained_store: SweepStore, trial: str, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(trained_store.uri, copy)
    store = SweepStore(str(copy))
    record = store.records()[trial]
    (copy / record.folder / "checkpoint" / "model.safetensors").unlink()
    with pytest.raises(StoreError, match=f"delete records/{trial}.json to run the trial again"):
        export.write_checkpoint(store, record, tmp_path / "out", "merged", "card")
    assert not (tmp_path / "out").exists()


def test_answers_that_do_not_see_the_video_would_elsewhere(
    trained_store: SweepStore, trial: str, tmp_path: Path
) -> None:
    record = trained_store.records()[trial]
    blind = record.model_copy(update={"recipe": record.recipe | {"blind_answers": True}})
    with pytest.raises(ValueError, match="answers blind to the video"):
        export.write_checkpoint(trained_store, blind, tmp_path / "out", "merged", "card")
    assert not (tmp_path / "out").exists()


def test_a_base_keeps_its_own_template_where_it_writes_what_we_train_on(exported: Path) -> None:
    tokenizer, family = AutoTokenizer.from_pretrained(exported), family_of(AutoConfig.from_pretrained(exported))
    assert chat_template.system_prompt(tokenizer, family) is None
    own = chat_template.template_for(tokenizer, family, None)
    assert own == tokenizer.chat_template
    tokenizer.chat_template = own + "{# of the base #}"
    assert chat_template.template_for(tokenizer, family, None) == tokenizer.chat_template
    words = "Say VIDEO, IMAGE or {{ roles }}."  # those of our template, and of Jinja
    with_system = chat_template.template_for(tokenizer, family, words)
    assert "of the base" not in with_system
    tokenizer.chat_template = with_system
    assert chat_template.system_prompt(tokenizer, family) == words
    tokenizer.chat_template = "{{ '<|im_start|>' + messages[0]['content'] }}"  # takes texts only
    assert chat_template.template_for(tokenizer, family, None) == own
    with pytest.raises(ValueError, match="was not trained on"):
        chat_template.system_prompt(tokenizer, family)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        chat_template.system_prompt(tokenizer, family)


def test_frames_are_read_from_what_was_written_and_else_are_the_papers(exported: Path, tmp_path: Path) -> None:
    frames = FramePolicy(max_frames=8, min_pixels=64, max_pixels=4096, cell_px=8)
    assert frame_policy(tmp_path, 28) == FramePolicy()
    file = tmp_path / "processor_config.json"
    written = processor_config(family_of(AutoConfig.from_pretrained(exported)), frames, (1, 2))
    file.write_text(json.dumps(written))
    assert frame_policy(tmp_path, 8) == frames
    written["video_processor"]["min_frames"] = 4  # a stock processor
    file.write_text(json.dumps(written))
    assert frame_policy(tmp_path, 28) == FramePolicy()
    file.write_text("[]")
    with pytest.raises(ValueError, match="no JSON object"):
        frame_policy(tmp_path, 8)


def test_a_model_of_the_hub_keeps_its_budget_for_pictures(adapted: tuple[SweepStore, Path], tmp_path: Path) -> None:
    store, _ = adapted
    export.write_checkpoint(store, store.records()["lora"], tmp_path / "out", "merged", "card")
    written = json.loads((tmp_path / "out" / "processor_config.json").read_text())
    assert written["image_processor"]["size"] == {"longest_edge": 12_845_056, "shortest_edge": 3_136}
    frames = ShapesWorld().frames
    sizes = {"longest_edge": frames.max_pixels, "shortest_edge": frames.min_pixels}
    assert written["video_processor"]["size"] == sizes


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nosuch", "no trial in .* begins with 'nosuch'"),
        ("a/b/c", "is no folder with a config.json, no trial and no name on the hub"),
    ],
)
def test_what_is_no_model_is_refused(trained_store: SweepStore, source: str, says: str) -> None:
    with pytest.raises((ValueError, StoreError), match=says), load(source, trained_store.uri, CPU):
        pass


def test_a_folder_of_another_class_is_refused(exported: Path, tmp_path: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))
    with pytest.raises(ValueError, match="models of type 'llava' are not supported"), load(str(tmp_path), "none", CPU):
        pass


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's library, which is offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_name_on_the_hub_is_a_model(hub_cache: Path, talkative: Path, trained_store: SweepStore, video: str) -> None:
    repository = hub_cache / "models--somebody--swim"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(talkative, snapshot)
    # As in Qwen's own repository: the template of the processor in a file of its own, in the tokenizer one for texts.
    template = (snapshot / "chat_template.jinja").read_text()
    (snapshot / "chat_template.jinja").write_text("{{ '<|im_start|>' + messages[0]['content'] }}")
    (snapshot / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    of_hub, of_folder = (asked(source, trained_store, video)[0] for source in ("somebody/swim", str(talkative)))
    assert of_hub == of_folder


def test_a_name_that_the_hub_does_not_give_is_an_error(hub_cache: Path) -> None:
    del hub_cache
    with (
        pytest.raises(OSError, match="nobody/nothing@v1 is no folder here, and the hub does not give it"),
        load("nobody/nothing@v1", "none", CPU),
    ):
        pass
