"""The page of the formats shows a right row of each, and so does the error of a refused row: all of them are read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from swim import registry
from swim.data import formats
from swim.data.annotations.samples import FORMATS, example_row, parse_row
from swim.data.rows.read import read_rows
from swim.data.types import DataError

PAGE = (Path(formats.__path__[0]) / "README.md").read_text(encoding="utf-8")
NAMED = re.compile(r"^`([a-z-]+)`.*?^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = dict(NAMED.findall(PAGE))


@pytest.fixture(autouse=True)
def _masks_of_ref_youtube_vos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are pictures beside its file."""
    folder = tmp_path / "Annotations" / "dog"
    folder.mkdir(parents=True)
    Image.new("L", (6, 4), 1).save(folder / "00000.png")
    monkeypatch.chdir(tmp_path)


def test_the_page_shows_every_format() -> None:
    assert sorted(SHOWN) == sorted(registry.names(FORMATS))
    assert PAGE.count("```json") == len(SHOWN)


@pytest.mark.parametrize("name", registry.names(FORMATS))
@pytest.mark.parametrize("source", ["page", "error"])
def test_the_row_shown_is_read(tmp_path: Path, name: str, source: str) -> None:
    shown = SHOWN[name] if source == "page" else example_row(name)
    raw = json.loads(shown)
    if name == "ref-youtube-vos":  # shown as the file that is cut into rows
        (tmp_path / "meta_expressions.json").write_text(shown, encoding="utf-8")
        ((_, raw),) = read_rows(tmp_path / "meta_expressions.json")
    sample = parse_row(raw, file="f.json", row=0)
    assert (sample.kind, len(sample.tracks) > 0) == (name, name != "llava-video")


def test_a_row_of_no_format_is_shown_one_of_the_closest() -> None:
    near: list[tuple[Any, str]] = [
        ({"videos": ["v.mp4"], "objects": {"ref": ["dog"]}}, "ms-swift"),
        ({"categories": [], "annotations": []}, "coco-video"),
        ({"mask_dict": {}}, "mevis"),
        ({"mask_folder": "Annotations"}, "ref-youtube-vos"),
        ({"file_name": "v.mp4"}, "hf-datasets"),
    ]
    for raw, name in near:
        with pytest.raises(DataError) as caught:
            parse_row(raw, file="f.json", row=0)
        assert f"a right {name} row: {example_row(name)}" in caught.value.hint
