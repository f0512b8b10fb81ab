"""LLaMA-Factory: sharegpt rows, and the `dataset_info.json` that renames their columns and tags."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_kit import NAMES, dump, one, refused, samples, track, trained, write_videos

from swim.data.rows.read import read_rows
from swim.data.types import DataError
from swim.recipe import Recipe

KIND = "llama-factory"


def row(name: str, **more: Any) -> dict[str, Any]:
    chat = [
        {"from": "human", "value": f"<video>What does the <ins>{name}</ins> do?"},
        {"from": "gpt", "value": "It moves."},
    ]
    return {"conversations": chat, "videos": [f"{name}.mp4"], "annotation": [track(16)]} | more


OPENAI = {
    "formatting": "sharegpt",
    "columns": {"messages": "chat", "videos": "films"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}


def openai_row(name: str) -> dict[str, Any]:
    chat = [{"role": "user", "content": f"<video>Who is the {name}?"}, {"role": "assistant", "content": "It is here."}]
    return {"chat": chat, "films": [f"{name}.mp4"]}


def test_three_rows_train(tmp_path: Path, nano: Recipe) -> None:
    file = dump(tmp_path / "rows.json", [row(name) for name in NAMES])
    read, clips, _ = trained(file, write_videos(tmp_path / "videos"), KIND, nano)
    assert [sample.video for sample in read] == ["dog.mp4", "cat.mp4", "ball.mp4"]
    assert read[0].turns[0].human == "What does the <ins>dog</ins> do?"
    assert [len(clip.masks) for clip in clips] == [1, 1, 1]


def test_a_description_gives_the_rows_of_its_files(tmp_path: Path) -> None:
    dump(tmp_path / "a.json", [row(name) for name in NAMES])
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(openai_row(name)) for name in NAMES))
    usual = {"file_name": "a.json", "formatting": "sharegpt", "columns": {"videos": "videos"}}
    file = dump(tmp_path / "dataset_info.json", {"a": usual, "b": OPENAI | {"file_name": "b.jsonl"}})
    read = samples(file, KIND)
    assert [sample.video for sample in read] == [f"{name}.mp4" for name in NAMES * 2]
    assert [len(sample.tracks) for sample in read] == [1, 1, 1, 0, 0, 0]
    assert (read[3].turns[0].human, read[3].turns[0].gpt) == ("Who is the dog?", "It is here.")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"hf_hub_url": "me/mine"}, "'d'.hf_hub_url", "not in this folder"),
        ({"formatting": "alpaca"}, "'d'.formatting", "not sharegpt"),
        ({"ranking": True}, "'d'.ranking", "preferences"),
        ({"columns": {"messages": "chat"}}, "'d'.columns", "no column of videos"),
        ({"columns": ["videos"]}, "'d'.columns", "not an object of names"),
        ({"file_name": "gone.json"}, "'d'.file_name", "no file 'gone.json'"),
        ({"file_name": "../rows.json"}, "'d'.file_name", "no file"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused(
    tmp_path: Path, change: dict[str, Any], field: str, reason: str
) -> None:
    dump(tmp_path / "rows.json", [])
    dump(tmp_path / "in" / "rows.json", [])
    file = dump(tmp_path / "in" / "dataset_info.json", {"d": OPENAI | {"file_name": "rows.json"} | change})
    with pytest.raises(DataError) as caught:
        list(read_rows(file))
    assert (caught.value.field, caught.value.file) == (field, str(file))
    assert reason in caught.value.reason


SYSTEM = {"from": "system", "value": "Answer in rhyme."}


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"videos": []}, "videos", "0 videos"),
        ({"videos": ["a.mp4", "b.mp4"]}, "videos", "2 videos"),
        ({"videos": [3]}, "videos[0]", "no text"),
        ({"video": "dog.mp4"}, "video", "beside `videos`"),
        ({"images": ["dog.jpg"]}, "images", "cannot be used"),
        ({"annotation": None}, "annotation", "1 <ins> tags and no masks"),
        ({"system": "Answer in rhyme."}, "system", "a system prompt"),
        ({"conversations": [SYSTEM, *row("dog")["conversations"]]}, "conversations[0].value", "a system prompt"),
        ({"conversations": row("dog")["conversations"][:1]}, "conversations", "not a list of human-gpt pairs"),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(change: dict[str, Any], field: str, reason: str) -> None:
    with refused(KIND, field, reason):
        one(row("dog") | change, KIND)


def test_the_usual_system_prompt_is_no_loss() -> None:
    usual = {"from": "system", "value": "You are a helpful assistant."}
    assert one(row("dog", conversations=[usual, *row("dog")["conversations"]]), KIND) == one(row("dog"), KIND)
