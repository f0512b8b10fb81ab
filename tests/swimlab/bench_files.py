"""Files in the forms of VideoRefer-Bench-D and -Q, made of the embedded data set."""

import json
from pathlib import Path
from typing import Any

from answering_kit import WORLD

from swim.data.annotations.markup import strip_tags
from swim.data.synthetic import shapes_world
from swim.data.synthetic.vocabulary import VALUES
from swim.recipe import NLReferFiles

MOTIONS = VALUES["motion"]


def write(folder: Path, clips: int, *, original: bool = False) -> tuple[NLReferFiles, NLReferFiles]:
    """(Bench-D, Bench-Q) of the first object of each clip; `original`: with placeholders in the place of words."""
    rows = shapes_world.write(WORLD, "train", range(clips), folder)
    keep = {"placeholders": "keep"} if original else {}
    files = []
    for name, of_form in (("d", description), ("q", choice)):
        file = folder / f"bench-{name}{'-original' if original else ''}.json"
        file.write_text(json.dumps([of_form(row, original) for row in rows]))
        files.append(
            NLReferFiles(
                annotations=(str(file),),
                videos=str(folder),
                formats=(f"bench-{name}",),  # type: ignore[arg-type]
                frames=WORLD.frames,
                **keep,  # type: ignore[arg-type]
            )
        )
    return files[0], files[1]


def description(row: dict[str, Any], original: bool) -> dict[str, Any]:
    human, gpt = (entry["value"] for entry in row["conversations"][:2])
    fields = {
        "video": row["video"],
        "caption": strip_tags(gpt)[0],
        "frame_idx": "0",
        "annotation": row["annotation"][:1],
    }
    return fields if original else fields | {"conversations": [{"from": "human", "value": human}]}


def choice(row: dict[str, Any], original: bool) -> dict[str, Any]:
    motion = row["conversations"][1]["value"].rstrip(".").split()[-1]
    noun = strip_tags(row["conversations"][0]["value"])[1][0].text
    options = [f"({letter}) {word}" for letter, word in zip("ABCDEFGH", MOTIONS, strict=False)]
    asked = "<object3><region>" if original else f"the <ins>{noun}</ins>"
    return {
        "video": row["video"],
        "Question": f"How does {asked} move?",
        "options": options,
        "Answer": next(option for option in options if option.endswith(f" {motion}")),
        "type": "Basic Questions" if motion in MOTIONS[:2] else "Future Predictions",
        "annotation": row["annotation"][:1],
    }
