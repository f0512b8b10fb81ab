"""What a family makes of a clip is what its own processor makes: ids, grids and pixels.

The processors' own code runs as far as it needs no torchvision: what stands for a video (`replace_video_token`), its
place in the text, SmolVLM's chat template, patches and padding. Their `__init__` and resizing are not called; the chat
templates of Qwen and LLaVA are in no package, and are written out here. (Whole processors were run beside torchvision
0.28 by hand: ids, grids and token types equal for all five, pixels within 3e-7, or a level of 255 where resized.)
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from family_checkpoints import CELL_PX, config_of, tokenizer_of
from PIL import Image
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE, SmolVLMProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

from swim.data.annotations.markup import strip_tags
from swim.data.encode import Encoder, collate
from swim.data.family import family_of
from swim.data.types import DataError
from swim.models.families.smolvlm import in_words

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
# {0} stands for a video, {1} to {4} for the words of two turns.
QWEN = (
    "<|im_start|>user\n<|vision_start|>{0}<|vision_end|>{1}<|im_end|>\n<|im_start|>assistant\n{2}<|im_end|>\n"
    "<|im_start|>user\n{3}<|im_end|>\n<|im_start|>assistant\n{4}<|im_end|>\n"
)
TEMPLATES = {
    "qwen2_vl": SYSTEM + QWEN,
    "qwen2_5_vl": SYSTEM + QWEN,
    # In the model's release the processor replaced the pair around the video as well.
    "qwen3_vl": QWEN.replace("<|vision_start|>{0}<|vision_end|>", "{0}"),
    # tests/models/llava_onevision/test_processing_llava_onevision.py of transformers, prompts for answers.
    "llava_onevision": "<|im_start|>user {0}\n{1}<|im_end|><|im_start|>assistant\n{2}<|im_end|>"
    "<|im_start|>user \n{3}<|im_end|><|im_start|>assistant\n{4}<|im_end|>",
}


def encoder_of(name):
    tokenizer = tokenizer_of(name)
    family = family_of(config_of(name, tokenizer))
    return Encoder(tokenizer, family, system=family.chat.system_prompt)


def processor_of(cls, **fields):
    processor = cls.__new__(cls)
    for name, value in fields.items():
        setattr(processor, name, value)
    return processor


def video_text(name, clip, encoder):
    """What the family's own processor puts in place of a video token."""
    T, H, W, _ = clip.frames_THWC.shape
    frames = VideoMetadata(total_num_frames=None, fps=clip.fps, frames_indices=list(clip.frame_indices))
    cell = CELL_PX[name]
    grid = torch.tensor([[T // 2, 2 * H // cell, 2 * W // cell]])
    merged = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    if name == "qwen3_vl":
        tokens = {"vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>"}
        processor = processor_of(Qwen3VLProcessor, video_token="<|video_pad|>", video_processor=merged, **tokens)
        return processor.replace_video_token({"video_grid_thw": grid, "video_metadata": [frames]}, 0)
    if "qwen" in name:
        processor = processor_of(Qwen2VLProcessor, video_token="<|video_pad|>", video_processor=merged)
        return processor.replace_video_token({"video_grid_thw": grid}, 0)
    if name == "llava_onevision":
        processor = processor_of(LlavaOnevisionProcessor, video_token="<video>", num_image_tokens=25)
        return processor.replace_video_token({"pixel_values_videos": torch.zeros(1, T, 3, 10, 10)}, 0)
    tokens = {"fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}
    processor = processor_of(SmolVLMProcessor, image_token="<image>", image_seq_len=9, **tokens)
    return processor.replace_video_token({"pixel_values": torch.zeros(1, T, 3, 12, 12), "video_metadata": [frames]}, 0)


def conversation(name, clip, tokenizer):
    """The text of the family's template, with {0} for the video."""
    words = [strip_tags(text)[0] for turn in clip.turns for text in (turn.human, turn.gpt)]
    if name != "smolvlm":
        return TEMPLATES[name].format("{0}", *words)
    contents = [[{"type": "text", "text": text}] for text in words]
    contents[0].insert(0, {"type": "video"})
    messages = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    text = tokenizer.apply_chat_template(messages, chat_template=DEFAULT_CHAT_TEMPLATE, tokenize=False)
    return text.replace("<video>", "{0}")


@pytest.fixture
def long_clip(clips):
    """Two turns, and frames over a minute and a half."""
    return replace(
        clips[0], turns=clips[0].turns[:2], masks=clips[0].masks[:4], frame_indices=(0, 50, 99, 940), fps=10.0
    )


@pytest.mark.parametrize("name", CELL_PX)
def test_ids_are_those_of_template_and_processor(name, long_clip, monkeypatch):
    # The library is not installed; `in_words` has a test of its own.
    monkeypatch.setattr(processing_smolvlm, "num2words", {4: "four"}.get)
    encoder = encoder_of(name)
    text = conversation(name, long_clip, encoder.tokenizer).replace("{0}", video_text(name, long_clip, encoder))
    sample = encoder(long_clip)
    assert sample.input_ids_L.tolist() == encoder.tokenizer(text)["input_ids"]
    answers = encoder.tokenizer.decode(sample.labels_L[sample.labels_L >= 0])
    lead, end = sample.family.chat.answer.lead, sample.family.chat.answer.closing[0]
    assert answers == "".join(f"{lead}{strip_tags(turn.gpt)[0]}{end}" for turn in long_clip.turns)
    for noun in sample.nouns:
        assert encoder.tokenizer.decode(sample.input_ids_L[list(noun.tokens)]).strip() == noun.noun
    assert len(sample.nouns) == 4


def test_times_of_frames_are_told(long_clip):
    qwen = encoder_of("qwen3_vl").family.video((4, 64, 64), [0.0, 5.0, 9.9, 94.0])
    assert [part for part in qwen if "seconds" in part] == ["<2.5 seconds>", "<52.0 seconds>"]
    smol = "".join(encoder_of("smolvlm").family.video((4, 64, 64), [0.0, 5.0, 9.9, 94.0]))
    assert "series of four frames from a 0:01:34 [H:MM:SS] video." in smol
    assert [f"Frame from {stamp}:" in smol for stamp in ("00:00", "00:05", "00:09", "01:34", "00:10")] == [True] * 4 + [
        False
    ]


def normalised(frames_THWC, cls):
    """[T, C, H, W] as the base class of all video processors does it, with the statistics of one."""
    mean_C, std_C = torch.tensor(cls.image_mean), torch.tensor(cls.image_std)
    return ((torch.tensor(frames_THWC) / 255 - mean_C) / std_C).permute(0, 3, 1, 2)


def test_pixels_of_qwen3_are_its_processors(clips):
    encoder = encoder_of("qwen3_vl")
    inputs = collate([encoder(clip) for clip in clips[:2]], 0).inputs
    videos = [normalised(clip.frames_THWC, Qwen3VLVideoProcessor)[None] for clip in clips[:2]]
    cut = [Qwen3VLVideoProcessor.patchify(None, video, 8, 2, 2) for video in videos]
    torch.testing.assert_close(
        inputs["pixel_values_videos"], torch.cat([patches[0] for patches, *_ in cut]), atol=1e-6, rtol=0
    )
    assert inputs["video_grid_thw"].tolist() == [list(grid) for _, *grid in cut]
    assert "second_per_grid_ts" not in inputs


def test_pixels_of_smolvlm_are_its_processors(clips):
    """At the tower's size, at which the processor does not resize. Frames that a video lacks are zeros."""
    encoder = encoder_of("smolvlm")
    small = [replace(clip, frames_THWC=clip.frames_THWC[:, :12, :12]) for clip in clips[:2]]
    small[1] = replace(small[1], frames_THWC=small[1].frames_THWC[:2], frame_indices=(0, 1), masks=())
    inputs = collate([encoder(clip) for clip in small], 0).inputs
    videos = [normalised(clip.frames_THWC, SmolVLMVideoProcessor)[None] for clip in small]
    padded = torch.cat([SmolVLMVideoProcessor.pad(None, video, (12, 12), 4)[0] for video in videos])
    torch.testing.assert_close(inputs["pixel_values"], padded, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "size", "steps"),
    [
        ("llava_onevision", (64, 96), [(10, 10)]),
        ("smolvlm", (64, 96), [(8, 12), (12, 12)]),
        ("smolvlm", (90, 50), [(12, 6), (12, 12)]),
    ],
)
def test_frames_of_any_shape_are_resized_to_the_square(name, size, steps):
    """Pillow, which the processors' resizing is made to agree with, is within two levels of 255."""
    frames_THWC = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    (pixels,) = encoder_of(name).family.pixel_inputs([torch.from_numpy(frames_THWC)]).values()
    for frame_HWC, found_CHW in zip(frames_THWC, pixels[0], strict=True):
        picture = Image.fromarray(frame_HWC)
        for height, width in steps:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        wanted_HWC = torch.from_numpy(np.array(picture))
        assert ((found_CHW.permute(1, 2, 0) + 1) * 127.5 - wanted_HWC).abs().max() <= 2


def test_numbers_in_words():
    """As num2words 0.5.14 has them."""
    words = {0: "zero", 4: "four", 12: "twelve", 19: "nineteen", 20: "twenty", 32: "thirty-two", 64: "sixty-four"}
    words |= {100: "one hundred", 101: "one hundred and one", 768: "seven hundred and sixty-eight"}
    assert {number: in_words(number) for number in words} == words
    assert len({in_words(number) for number in range(1000)}) == 1000


def test_what_a_model_cannot_read_is_refused(clips):
    with pytest.raises(DataError, match="4 frames of 60 × 64 px: the model reads pairs of frames in cells of 16 px"):
        encoder_of("qwen3_vl")(replace(clips[0], frames_THWC=clips[0].frames_THWC[:, :60]))
    many = replace(clips[0], frames_THWC=np.zeros((1000, 4, 4, 3), np.uint8), frame_indices=tuple(range(1000)))
    with pytest.raises(DataError, match="a video of 1000 frames"):
        encoder_of("smolvlm")(many)


def test_a_tokenizer_of_another_model_is_refused(tokenizer):
    family = family_of(config_of("smolvlm", tokenizer_of("smolvlm")))
    with pytest.raises(ValueError, match=r"the tokenizer lacks <end_of_utterance>, <image>.* of a smolvlm model"):
        Encoder(tokenizer, family, system=None)
    family.config.image_token_id = 3
    with pytest.raises(ValueError, match=r"<image> is token [0-9]+ of the tokenizer, and 3 in the model's config"):
        Encoder(tokenizer_of("smolvlm"), family, system=None)


def test_a_family_without_a_file_is_refused():
    with pytest.raises(
        ValueError, match=r"type 'gemma3' are not supported, llava-onevision, .* write swim/models/families/gemma3.py"
    ):
        family_of(SimpleNamespace(model_type="gemma3"))
