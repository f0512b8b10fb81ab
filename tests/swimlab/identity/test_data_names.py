"""What names a data set: its contents and the code that draws it, never where it lies."""

import json
import os
from pathlib import Path

import pytest

from swim import recipes
from swim.recipe import FramePolicy, NLReferFiles, ShapesWorld
from swimlab.identity import naming
from swimlab.identity.data_hash import FileHashes
from swimlab.identity.naming import IdentityError


def test_the_embedded_data_set_is_its_config_and_its_generator(root, tmp_path):
    def of(data):
        return naming.data_fingerprint(data, tmp_path, root)

    before = of(ShapesWorld())
    assert of(ShapesWorld(seed=1)) != before
    (root / "swim/train.py").write_text("")
    assert of(ShapesWorld()) == before
    generator = root / "swim/data/synthetic/shapes_world.py"
    generator.write_text(generator.read_text() + "\nX = 1\n")
    assert of(ShapesWorld()) != before


def _user_data(folder: Path) -> NLReferFiles:
    (folder / "videos" / "frames").mkdir(parents=True)
    rows = [{"video": name} for name in ("a.mp4", "frames", "gone.mp4")]
    (folder / "train.json").write_text(json.dumps([*rows, {"conversations": []}]))
    (folder / "videos" / "a.mp4").write_bytes(b"video")
    (folder / "videos" / "frames" / "0.jpg").write_bytes(b"frame")
    return NLReferFiles(annotations=(str(folder / "train.json"),), videos=str(folder / "videos"))


def test_user_data_counts_by_content_not_by_place(tmp_path):
    here, there = _user_data(tmp_path / "here"), _user_data(tmp_path / "there")

    def of(data):
        return naming.data_fingerprint(data, tmp_path / "cache")

    before = of(here)
    assert of(there) == before
    assert of(here.model_copy(update={"frames": FramePolicy(max_frames=8)})) != before
    assert of(here.model_copy(update={"held_out_annotations": here.annotations})) != before
    seen = {before}
    for name, content in [
        ("videos/a.mp4", b"longer video"),
        ("videos/frames/0.jpg", b"longer frame"),
        ("videos/gone.mp4", b"back"),
        ("train.json", b"[]"),
    ]:
        (tmp_path / "there" / name).write_bytes(content)
        assert of(there) not in seen
        seen.add(of(there))
    recipe = recipes.qwen2_5_vl_7b()
    moved = [recipe.override({"data.annotations": d.annotations, "data.videos": d.videos}) for d in (here, there)]
    assert naming.canonical(moved[0]) == naming.canonical(moved[1])


def test_annotations_that_cannot_be_read_are_named(tmp_path):
    for content, reason in [(None, "No such file"), ("{", "not valid JSON"), ("{}", "holds a dict")]:
        path = tmp_path / "rows.json"
        if content:
            path.write_text(content)
        with pytest.raises(IdentityError, match=rf"rows\.json.*{reason}"):
            naming.data_fingerprint(NLReferFiles(annotations=(str(path),), videos="v"), tmp_path)


def test_a_hash_is_remembered_until_the_file_changes(tmp_path):
    path = tmp_path / "a.mp4"

    def write(content: bytes, mtime_s: int) -> str:
        path.write_bytes(content)
        os.utime(path, (mtime_s, mtime_s))
        with FileHashes(tmp_path / "cache") as hashes:
            return hashes.of(path)

    first = write(b"one", 1000)
    # Same size and time: the content is not read again. That is what the cache trusts.
    assert write(b"two", 1000) == first
    assert write(b"two", 1001) != first
    assert write(b"one", 1000) == first
    (tmp_path / "cache" / "file-hashes.json").write_text("{broken")
    assert write(b"one", 1000) == first
