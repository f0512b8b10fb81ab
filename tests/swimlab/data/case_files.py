"""The inputs of cases of public reports, made here: a folder a case of videos and pictures, and files of rows.

All pictures are 240 × 320: four quadrants, red and green above blue and white, unless a case says otherwise.
"""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from swim.data.masks import encodings

HEIGHT, WIDTH = 240, 320
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
_BOX = encodings.to_rle([[40, 60, 150, 60, 150, 180, 40, 180]], HEIGHT, WIDTH)
MASK = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": _BOX.counts}}
QUESTION, ANSWER = "<video>\nDescribe the <ins>dog</ins>.", "A dog runs."


def talk(*texts: str) -> list[dict[str, str]]:
    """A conversation that a person begins."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def row(video: str, frames: Iterable[int] = (0, 5), *texts: str, **changes: Any) -> dict[str, Any]:
    """A row with a mask at each of these keys."""
    annotation = [{str(frame): MASK for frame in frames}]
    fields = {
        "id": "a",
        "video": video,
        "conversations": talk(*(texts or (QUESTION, ANSWER))),
        "annotation": annotation,
    }
    return fields | changes


def quadrants() -> np.ndarray:
    """[HEIGHT, WIDTH, 3]."""
    above = np.hstack([np.full((HEIGHT // 2, WIDTH // 2, 3), colour, np.uint8) for colour in (RED, GREEN)])
    below = np.hstack([np.full((HEIGHT // 2, WIDTH // 2, 3), colour, np.uint8) for colour in (BLUE, WHITE)])
    return np.vstack([above, below])


def write_video(path: Path) -> Path:
    """Twelve frames of the quadrants, 10 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quadrants(), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, *names: str, **options: Any) -> None:
    """The quadrants under each name, as Pillow saves them with these options."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(quadrants()).save(folder / name, **options)


def _apple_double(case: Path) -> list[dict[str, Any]]:
    write_pictures(case / "apple", "00000.jpg", "00001.jpg")
    (case / "apple/._00000.jpg").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    return [row("apple", [1])]


def _audio_with_cover(case: Path) -> list[dict[str, Any]]:
    with av.open(str(case / "cover.m4a"), "w", format="mp4") as container:
        sound, cover = container.add_stream("aac", rate=44100), container.add_stream("mjpeg", rate=10)
        cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24").reformat(format="yuvj420p")
        container.mux([*cover.encode(picture), *cover.encode(None), *sound.encode(samples), *sound.encode(None)])
    text = {"id": "text", "video": "cover.m4a", "conversations": talk("What happens?", "A man walks.")}
    return [row("cover.m4a", [0]), text]


def _exif_orientation(case: Path) -> list[dict[str, Any]]:
    turned = Image.Exif()
    turned[0x0112] = 3  # by half a turn
    write_pictures(case / "exif3", "00000.jpg", "00001.jpg", exif=turned)
    return [row("exif3", [0])]


def _flipped_display_matrix(case: Path) -> list[dict[str, Any]]:
    content = write_video(case / "ref.mp4").read_bytes()
    unit = 1 << 16
    for name, (a, b, c, d) in {"hflip": (-unit, 0, 0, unit), "transpose": (0, unit, unit, 0)}.items():
        at = content.index(b"tkhd") + 44  # of version 0: version and flags, times and ids, layer and volume
        matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        (case / f"{name}.mp4").write_bytes(content[:at] + matrix + content[at + 36 :])
    return [row("hflip.mp4")]


def _gif(case: Path) -> list[dict[str, Any]]:
    frames = [Image.new("P", (128, 128)) for _ in range(3)]
    for i, frame in enumerate(frames):
        ImageDraw.Draw(frame).ellipse((20 + i, 20, 100 + i, 100), fill=1)
    frames[0].save(case / "circle.gif", save_all=True, append_images=frames[1:])
    return [{"id": "g", "video": "circle.gif", "conversations": talk("What is it?", "A circle.")}]


def _jpg_and_png_of_one_frame(case: Path) -> list[dict[str, Any]]:
    write_pictures(case / "mixed", "00000.jpg", "00000.png", "00001.jpg")
    return [row("mixed", [2])]


def _numbered_frames_with_gaps(case: Path) -> list[dict[str, Any]]:
    write_pictures(case / "gap", "0.jpg", "1.jpg", "3.jpg", "7.jpg", "10.jpg")
    return [row("gap", [3])]


def _sixteen_bit_png(case: Path) -> list[dict[str, Any]]:
    (case / "gray16").mkdir()
    ramp = np.linspace(0, 2**16 - 1, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    for name in ("00000.png", "00001.png"):
        Image.fromarray(ramp).save(case / "gray16" / name)
    return [row("gray16", [0])]


def _theora_duplicates(case: Path) -> list[dict[str, Any]]:
    """A picture that does not change is stored once, and then as packets without a byte. No library here writes Theora:
    the file, 4 kB, was made with `ffmpeg -c:v libtheora`."""
    shutil.copy(Path(__file__).with_name("theora_duplicates.ogv"), case / "t.ogv")
    return [{"id": "g", "video": "t.ogv", "conversations": talk("What is it?", "A test.")}]


VIDEO_CASES: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "apple-double": _apple_double,
    "audio-with-cover": _audio_with_cover,
    "exif-orientation": _exif_orientation,
    "flipped-display-matrix": _flipped_display_matrix,
    "gif": _gif,
    "jpg-and-png-of-one-frame": _jpg_and_png_of_one_frame,
    "numbered-frames-with-gaps": _numbered_frames_with_gaps,
    "sixteen-bit-png": _sixteen_bit_png,
    "theora-duplicates": _theora_duplicates,
}


def write_video_cases(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Case → its rows, whose videos lie in the folder of its name."""
    rows = {}
    for case, write in VIDEO_CASES.items():
        (folder / case).mkdir()
        rows[case] = write(folder / case)
    return rows


def _lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(raw, ensure_ascii=False) + "\n" for raw in rows)


def _array(*rows: dict[str, Any]) -> bytes:
    lines = ",\n".join(map(json.dumps, rows))
    return f"[{lines}]\n".encode()


_POLYGONS = {"half-or-more": (0.05, 0.95), "smaller": (0.1, 0.4)}
_SHARES = [
    row(
        "ref.mp4", id=name, height=HEIGHT, width=WIDTH, annotation=[{"0": {"segmentation": [[a, a, b, a, b, b, a, b]]}}]
    )
    for name, (a, b) in _POLYGONS.items()
]
_CHINESE = ("请描述视频中的<ins>狗</ins>。", "一只狗在跑。😀")
_TURNS = ("Describe the <ins>dog</ins>.", "A dog.", "<video>\nMore?", "Yes.")
ROW_FILES: dict[str, bytes] = {
    "array_named.jsonl": _array(row("ref.mp4"), row("ref.mp4")),
    "crlf_text.json": _array(row("ref.mp4", (0, 5), QUESTION.replace("\n", "\r\n") + "\r\n", "A dog.\r\n")),
    "dupkey_frame.json": _array(row("ref.mp4")).replace(b'"5": ', b'"0": '),
    "gz_named.jsonl": gzip.compress(_lines(row("ref.mp4")).encode()),
    "missing_segmentation_key.json": _array(row("ref.mp4", annotation=[{"0": MASK, "5": {}}])),
    "normalised-polygon.json": _array(*_SHARES),
    "space_before_video.json": _array(row("ref.mp4", (0, 5), f" {QUESTION}", "A dog.")),
    "utf16.jsonl": _lines(row("ref.mp4"), row("ref.mp4", (0, 5), *_CHINESE)).encode("utf-16"),
    "video_in_second_turn.json": _array(row("ref.mp4", (0, 5), *_TURNS)),
    "video_tag_caps.json": _array(row("ref.mp4", (0, 5), QUESTION.replace("<video>", "<Video>"), "A dog.")),
}
FILES = (*ROW_FILES, "folder.parquet", "hfseq.parquet", "listview.parquet")


def write_row_files(folder: Path) -> None:
    """All of `FILES`, and `ref.mp4`, which their rows name."""
    write_video(folder / "ref.mp4")
    for name, content in ROW_FILES.items():
        (folder / name).write_bytes(content)
    table = pa.Table.from_pylist([row("ref.mp4", id=name) for name in "ab"])
    (folder / "folder.parquet").mkdir()
    pq.write_table(table, folder / "folder.parquet/part-0.parquet")
    turns = table["conversations"].to_pylist()
    # As `datasets` stores a Sequence of dicts, and as Arrow's list_view.
    lists = pa.array([{key: [turn[key] for turn in talk_] for key in ("from", "value")} for talk_ in turns])
    views = pa.array(turns, pa.list_view(pa.struct({"from": pa.string(), "value": pa.string()})))
    for name, column in (("hfseq", lists), ("listview", views)):
        pq.write_table(table.set_column(2, "conversations", column), folder / f"{name}.parquet")
