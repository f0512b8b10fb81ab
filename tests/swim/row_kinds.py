"""One valid row of every kind and variant that annotation files hold, with every encoding of a mask."""

from typing import Any

from pycocotools import mask as coco

UNCOMPRESSED = {"size": [4, 5], "counts": [6, 2, 12]}
COMPRESSED = UNCOMPRESSED | {"counts": coco.frPyObjects(UNCOMPRESSED, 4, 5)["counts"].decode()}
POLYGON = [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]


def track(*segmentations: Any) -> dict[str, Any]:
    return {str(3 * i): {"segmentation": segmentation} for i, segmentation in enumerate(segmentations)}


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


DOG = track(COMPRESSED, UNCOMPRESSED, None, POLYGON)
NL_REFER = {
    "id": "a",
    "index": "videorefer_detailed_caption_0",
    "video": "a.mp4",
    "height": 4,
    "width": 5,
    "conversations": talk("Describe the brown <ins>dog</ins>.", "It runs."),
    "annotation": [DOG],
}
DETAILED = NL_REFER | {"conversations": talk("<video>\nWhat is <region> doing?", "It runs."), "index": None}
SHORT = DETAILED | {"conversations": talk("Briefly, what is <region>?\n<video>", "A dog."), "ratio": 0.4}
QA = DETAILED | {
    "type": "Relationship Questions",
    "frame_idx": "3",
    "conversations": talk(
        "<video>\nThere are 2 objects here: <object0><region>, <object1> <region>.\nDoes <object1> see <object0>?",
        "<object1> does.",
        "And is there a third, <region>?",
        "It follows <object0>.",
    ),
    "annotation": [DOG, DOG, track(COMPRESSED)],
}
LLAVA = {"id": "l", "data_source": "0_30_s", "video": "l.mp4", "conversations": talk("<image>\nWho?", "A", "So?", "B")}
BENCH_D = {"id": 0, "video": "d.mp4", "caption": "A dog that runs.", "frame_idx": "3", "annotation": [DOG]} | {
    "height": 4,
    "width": 5,
}
NL_BENCH_D = BENCH_D | {"conversations": talk("Describe the <ins>dog</ins>.", "A dog that runs.")}
BENCH_Q = {
    "id": 0,
    "video": "DAVIS/JPEGImages/480p/dogs",
    "Question": "What is <object3><region> not wearing?",
    "type": "Basic Questions",
    "options": ["(A) A hat", "(B) What <object3> wears"],
    "Answer": "(B) What <object3> wears",
    "frame_idx": "57",
    "annotation": [track(COMPRESSED)],
}
NL_BENCH_Q = BENCH_Q | {
    "Question": "What is the <ins>dog</ins> not wearing?",
    "options": ["(A) A hat", "(B) Shoes", "(C) A coat"],
    "Answer": "(C) A coat",
}
MS_SWIFT = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "<video>What does the <ref-object> do?"},
        {"role": "assistant", "content": "It runs."},
    ],
    "videos": ["a.mp4"],
    "objects": {"ref": ["dog"], "bbox": [[0, 0, 3, 3]], "bbox_type": "real"},
    "annotation": [DOG],
    "height": 4,
    "width": 5,
}
LLAMA_FACTORY = {"conversations": talk("<video>Who is the <ins>dog</ins>?", "It."), "videos": ["a.mp4"]} | {
    "annotation": [track(COMPRESSED)],
    "system": "",
}
COCO_VIDEO = {
    "videos": [{"id": 4, "file_names": ["d/0.jpg", "d/1.jpg", "d/2.jpg"], "height": 4, "width": 5, "length": 3}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "giant_panda"}],
    "annotations": [
        {"video_id": 4, "category_id": 1, "segmentations": [COMPRESSED, None, POLYGON]},
        {"video_id": 4, "category_id": 2, "segmentations": [None, UNCOMPRESSED, None]},
        {"video_id": 4, "category_id": 1, "segmentations": [UNCOMPRESSED, None, None]},
    ],
}
MEVIS = {
    "videos": {
        "d": {"frames": ["0", "1"], "expressions": {"0": {"exp": "The two dogs running left", "anno_id": [3, 4]}}}
    },
    "mask_dict": {"3": [COMPRESSED, None], "4": [UNCOMPRESSED, UNCOMPRESSED]},
    "frames": "number",
}
HF_DATASETS = {
    "file_name": "a.mp4",
    "messages": [
        {"role": "user", "content": "What does the <ins>dog</ins> do?"},
        {"role": "assistant", "content": "It runs."},
    ],
    "annotation": [track(COMPRESSED)],
}
KINDS: list[tuple[str, dict[str, Any], str, int]] = [
    ("nl-refer", NL_REFER, "ins", 1),
    ("nl-refer", NL_REFER | {"index": "videorefer_qa_7"}, "none", 0),
    ("nl-refer", {"video": "v.mp4", "conversations": talk("Who?", "A dog.")}, "none", 0),
    ("nl-refer", {"video": "v.mp4", "conversations": talk("Who?", "A dog."), "annotation": []}, "none", 0),
    ("nl-refer", NL_REFER | {"data_source": "own"}, "ins", 1),
    ("videorefer", DETAILED, "region", 1),
    ("videorefer", SHORT, "region", 1),
    ("videorefer", QA, "region", 3),
    ("videorefer", DETAILED | {"data_source": "own"}, "region", 1),
    ("llava-video", LLAVA, "none", 0),
    ("llava-video", LLAVA | {"annotation": [], "caption": None, "Question": None}, "none", 0),
    ("bench-d", BENCH_D, "region", 1),
    ("bench-d", NL_BENCH_D, "ins", 1),
    ("bench-d", BENCH_D | {"conversations": talk("Describe the <ins>dog</ins>.")}, "ins", 1),
    ("bench-d", BENCH_D | {"conversations": talk("Describe <region>.", " A dog that runs.\n")}, "region", 1),
    ("bench-q", BENCH_Q, "region", 1),
    (
        "bench-q",
        BENCH_Q | {"Question": "What of <region>?", "options": ["(A) a", "(B) b"], "Answer": "(A)"},
        "region",
        1,
    ),
    ("bench-q", NL_BENCH_Q, "ins", 1),
    ("bench-q", NL_BENCH_Q | {"Question": "Who?", "annotation": None}, "none", 0),
    ("ms-swift", MS_SWIFT, "ins", 1),
    ("ms-swift", MS_SWIFT | {"objects": {"ref": ["dog"]}, "annotation": None}, "none", 0),
    ("llama-factory", LLAMA_FACTORY, "ins", 1),
    ("coco-video", COCO_VIDEO, "ins", 2),
    ("mevis", MEVIS, "ins", 2),
    ("hf-datasets", HF_DATASETS, "ins", 1),
    ("hf-datasets", {"video": {"path": "a.mp4"}, "caption": "A dog."}, "none", 0),
]
