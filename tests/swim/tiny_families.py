"""Tiny random models of the real classes of five families, and batches laid out by the families' own processors.

What needs no tokenizer and no torchvision is called: `replace_video_token`, `patchify`, `pad`. The text is made up.
"""

import re
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from pycocotools import mask as coco
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

from swim.data.documents import Noun
from swim.data.types import Rle

SPECIAL = ("<pad>", "<start>", "<end>", "<image>", "<video>", "<fake>", "<global>")
PAD, START, END, IMAGE, VIDEO, FAKE, GLOBAL = range(len(SPECIAL))
VOCABULARY = 64
PATCH_PX = 2
IGNORE = -100
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": PAD,
}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
TOWER = {"depth": 2, "hidden_size": 16, "num_heads": 2, "patch_size": PATCH_PX}
SIGLIP = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


class Qwen2:
    """Grids of any shape. `cell_px` is a visual token's side, `frames` what stands behind one step."""

    videos = ((4, 12, 16), (2, 16, 8), (6, 8, 12))  # frames, height and width in pixels
    cell_px, frames_per_patch = 2 * PATCH_PX, 2
    attention_outputs = "attn.proj"
    processor = Qwen2VLProcessor

    def model(self):
        vision = {
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": PATCH_PX,
        }
        config = Qwen2VLConfig(text_config=TEXT | MROPE, vision_config=vision, **self.ids())
        return Qwen2VLForConditionalGeneration(config)

    def ids(self):
        return {
            "video_token_id": VIDEO,
            "image_token_id": IMAGE,
            "vision_start_token_id": START,
            "vision_end_token_id": END,
        }

    def grid(self, video_TCHW):
        T, _, H, W = video_TCHW.shape
        return T // 2, H // self.cell_px, W // self.cell_px

    def pixels(self, videos):
        """`patchify` is the method of Qwen3-VL's video processor; Qwen2-VL's, the same, is behind torchvision."""
        cut = [Qwen3VLVideoProcessor.patchify(None, video[None], PATCH_PX, 2, 2) for video in videos]
        return {
            "pixel_values_videos": torch.cat([patches[0] for patches, *_ in cut]),
            "video_grid_thw": torch.tensor([grid for _, *grid in cut]),
        }

    def placeholder(self, video_TCHW):
        """Written around by the chat template: vision start, video, vision end."""
        processor = self.processor.__new__(self.processor)
        processor.video_token, processor.video_processor = "<video>", SimpleNamespace(merge_size=2)
        return f"<start>{processor.replace_video_token(self.pixels([video_TCHW]), 0)}<end>"

    def text(self, ids_BL):
        return {"mm_token_type_ids": 2 * (ids_BL == VIDEO).int()}


class Qwen25(Qwen2):
    def model(self):
        vision = {
            "out_hidden_size": 32,
            "intermediate_size": 24,
            "window_size": 4 * PATCH_PX,
        }  # windows of 2 × 2 tokens
        config = Qwen2_5_VLConfig(
            text_config=TEXT | MROPE, vision_config=TOWER | vision | {"fullatt_block_indexes": [1]}, **self.ids()
        )
        return Qwen2_5_VLForConditionalGeneration(config)

    def pixels(self, videos):
        return super().pixels(videos) | {"second_per_grid_ts": torch.full((len(videos),), 0.5)}


class Qwen3(Qwen2):
    processor = Qwen3VLProcessor

    def model(self):
        vision = {"out_hidden_size": 32, "intermediate_size": 24, "num_position_embeddings": 16}
        config = Qwen3VLConfig(
            text_config=TEXT | MROPE | {"head_dim": 8},
            vision_config=TOWER | vision | {"deepstack_visual_indexes": [0]},
            **self.ids(),
        )
        return Qwen3VLForConditionalGeneration(config)

    def placeholder(self, video_TCHW):
        processor = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
        processor.video_token, processor.vision_start_token, processor.vision_end_token = "<video>", "<start>", "<end>"
        processor.video_processor = SimpleNamespace(merge_size=2, temporal_patch_size=2)
        shown = SimpleNamespace(fps=2.0, frames_indices=list(range(len(video_TCHW))))
        return processor.replace_video_token(self.pixels([video_TCHW]) | {"video_metadata": [shown]}, 0)


class Llava:
    """All videos of a batch have one shape. 5 × 5 patches are pooled to 3 × 3 tokens."""

    videos = ((3, 10, 10),) * 3
    cell_px, frames_per_patch = 10 / 3, 1
    attention_outputs = "self_attn.out_proj"

    def model(self):
        vision = SIGLIP | {
            "model_type": "siglip_vision_model", "image_size": 10, "patch_size": PATCH_PX, "vision_use_head": False
        }  # fmt: skip
        text = TEXT | {"model_type": "qwen2"}
        config = LlavaOnevisionConfig(
            text_config=text, vision_config=vision, video_token_index=VIDEO, image_token_index=IMAGE
        )
        return LlavaOnevisionForConditionalGeneration(config)

    def grid(self, video_TCHW):
        return len(video_TCHW), 3, 3

    def pixels(self, videos):
        return {"pixel_values_videos": torch.stack(videos)}

    def placeholder(self, video_TCHW):
        processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
        processor.video_token, processor.num_image_tokens = "<video>", 25
        return processor.replace_video_token(self.pixels([video_TCHW]), 0)

    def text(self, ids_BL):
        return {}


class Smol:
    """Frames are square images; videos differ in their number and are padded with black ones."""

    videos = ((3, 12, 12), (1, 12, 12), (2, 12, 12))
    cell_px, frames_per_patch = 2 * PATCH_PX, 1
    attention_outputs = "self_attn.out_proj"

    def model(self):
        config = SmolVLMConfig(
            text_config=TEXT | {"model_type": "llama"},
            vision_config=SIGLIP | {"image_size": 12, "patch_size": PATCH_PX},
            image_token_id=IMAGE,
            scale_factor=2,
        )
        return SmolVLMForConditionalGeneration(config)

    def grid(self, video_TCHW):
        return len(video_TCHW), 3, 3

    def pixels(self, videos):
        longest = max(len(video) for video in videos)
        padded = [SmolVLMVideoProcessor.pad(None, video[None], (12, 12), longest) for video in videos]
        pixels, masks = zip(*padded, strict=True)
        return {"pixel_values": torch.cat(pixels), "pixel_attention_mask": torch.cat(masks)}

    def placeholder(self, video_TCHW):
        processor = SmolVLMProcessor.__new__(SmolVLMProcessor)
        processor.image_token, processor.fake_image_token, processor.global_image_token = (
            "<image>",
            "<fake>",
            "<global>",
        )
        processor.image_seq_len = 9
        shown = SimpleNamespace(fps=1.0, timestamps=list(range(len(video_TCHW))), duration=9)
        # The number of frames in words comes from a library that is not installed; digits do.
        with patch("transformers.models.smolvlm.processing_smolvlm.num2words", str):
            return processor.replace_video_token(self.pixels([video_TCHW]) | {"video_metadata": [shown]}, 0)

    def text(self, ids_BL):
        return {}


FAMILIES = {
    "qwen2_vl": Qwen2(),
    "qwen2_5_vl": Qwen25(),
    "qwen3_vl": Qwen3(),
    "llava_onevision": Llava(),
    "smolvlm": Smol(),
}


@cache
def _weights(name):
    """Spread out: at the usual 0.02 attention is uniform and maps would agree whatever they read."""
    model = FAMILIES[name].model()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            gain = 2 if "q_proj" in path and "vision" not in path else 1
            std = 0.1 if parameter.ndim == 1 else gain / parameter[0].numel() ** 0.5
            noise = std * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "norm" in path and path.endswith("weight") else noise)
    return model.state_dict()


def build(name):
    model = FAMILIES[name].model()
    model.load_state_dict(_weights(name))
    return model.eval()


def tokenize(text):
    """Special tokens, and one made-up token a character."""
    parts = re.findall("|".join(SPECIAL) + "|.", text, flags=re.DOTALL)
    text_ids = VOCABULARY - len(SPECIAL)
    return [SPECIAL.index(p) if p in SPECIAL else len(SPECIAL) + ord(p) % text_ids for p in parts]


@dataclass(frozen=True)
class Sample:
    """One document: ids and labels without padding, its video [T, 3, H, W] or None, its nouns."""

    ids: list[int]
    labels: list[int]
    video: torch.Tensor | None
    nouns: tuple[Noun, ...]


def samples(family):
    """Three videos with questions and answers of unequal lengths, and a document without a video. Nouns of one and two
    sub-tokens: right after the video, in the question, in the answer; of their frames some are annotated."""
    generator = torch.Generator().manual_seed(5)
    rng = np.random.default_rng(5)
    made = []
    for n, shape in enumerate((*family.videos, None)):
        video = None if shape is None else torch.randn(shape[0], 3, *shape[1:], generator=generator)
        head = tokenize("ab") + (tokenize(family.placeholder(video)) if video is not None else [])
        question, answer = tokenize("What is that?"[n:]), tokenize("It is a dog."[2 * n :])
        ids = head + question + answer
        labels = [IGNORE] * (len(head) + len(question)) + answer
        places = [(len(head),), (len(head) + 4, len(head) + 5), (len(ids) - 3, len(ids) - 2), (len(ids) - 4,)]
        nouns = [] if video is None else [Noun(p, _masks(rng, shape[0], every=1 + p[0] % 2)) for p in places[: 4 - n]]
        made.append(Sample(ids, labels, video, tuple(nouns)))
    return made


def _masks(rng, frames, every):
    def blob():
        mask_HW = np.zeros((24, 20), dtype=np.uint8, order="F")
        y, x = rng.integers(0, 14, size=2)
        mask_HW[y : y + 9, x : x + 6] = 1
        return Rle(height=24, width=20, counts=coco.encode(mask_HW)["counts"].decode())

    return {slot: blob() for slot in range(0, frames, every)}


def collate(family, batch, side="right"):
    """Model inputs, labels and nouns as `SupervisedModel` takes them; positions of nouns move with the padding."""
    width = max(len(sample.ids) for sample in batch)

    def padded(values, fill):
        gap = [fill] * (width - len(values))
        return gap + values if side == "left" else values + gap

    ids_BL = torch.tensor([padded(s.ids, PAD) for s in batch])
    inputs = {"input_ids": ids_BL, "attention_mask": torch.tensor([padded([1] * len(s.ids), 0) for s in batch])}
    inputs |= family.text(ids_BL)
    if videos := [s.video for s in batch if s.video is not None]:
        inputs |= family.pixels(videos)
    labels_BL = torch.tensor([padded(s.labels, IGNORE) for s in batch])
    shifts = [width - len(s.ids) if side == "left" else 0 for s in batch]
    nouns = [
        [Noun(tuple(t + shift for t in noun.tokens), noun.masks) for noun in s.nouns]
        for s, shift in zip(batch, shifts, strict=True)
    ]
    return inputs, labels_BL, nouns
