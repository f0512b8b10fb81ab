"""A look: the film has every patch, the arrays are what was read, and the page holds the same maps."""

import base64
import io
import json
import re
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from swim.evaluation.word_maps import WordMaps, words_of
from swimlab.checkpoints.asking import Look, View
from swimlab.report.look import page, pictures
from swimlab.report.look.arrays import write_arrays
from swimlab.report.look.shown import panels, shares

T, H, W, S = 3, 4, 6, 2


def maps_of(words: int, seed: int) -> WordMaps:
    rng = np.random.default_rng(seed)

    def drawn(*leading: int) -> np.ndarray:
        values = rng.exponential(size=(*leading, T, H, W)) ** 4
        return (values / values.sum((-3, -2, -1), keepdims=True)).astype(np.float32)

    layers, neutral = drawn(S, words), drawn(S)
    return WordMaps((1, 2), layers, layers.mean(0), neutral, neutral.mean(0))


def look_of(question: str = "Describe the dog.", *answers: str) -> Look:
    texts = (question, *(answers or ("It runs.", "A cat.")))
    words = words_of(texts)
    frames = np.random.default_rng(0).integers(0, 255, (T, 32, 48, 3), dtype=np.uint8)
    views = tuple(View(f"model {i}", 1 + i % (len(texts) - 1), "stop", maps_of(len(words), i)) for i in range(2))
    return Look("dog.mp4", texts, words, (2,), True, frames, (0.0, 0.5, 1.0), views)


@pytest.mark.parametrize("views", [1, 2])
def test_the_film_shows_every_patch_for_as_long(tmp_path: Path, views: int) -> None:
    look = look_of()
    look = Look(**{**vars(look), "views": look.views[:views]})
    written = pictures.write_film(look, "raw", tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == written == T * pictures.HOLD
    assert stream.average_rate == pictures.FPS
    width = (views + 1) * pictures.PANEL_PX + views * pictures.GAP_PX
    assert abs(frames[0].shape[1] - width) <= 1
    held, changed = frames[pictures.HOLD - 1], frames[pictures.HOLD]
    assert np.abs(held.astype(int) - frames[0]).mean() < 2 < np.abs(held.astype(int) - changed).mean()


def test_the_sheet_is_a_picture_with_a_row_a_model() -> None:
    one, two = (
        Image.open(io.BytesIO(pictures.contact_sheet(look, "relative")))
        for look in (Look(**{**vars(look_of()), "views": look_of().views[:1]}), look_of())
    )
    assert one.format == "PNG"
    assert two.height - one.height == round(pictures.SHEET_PX * 32 / 48) + pictures.TEXT_PX
    assert one.width == two.width == max(640, pictures.LABEL_PX + T * (pictures.SHEET_PX + pictures.GAP_PX))


def test_both_models_are_on_one_scale_and_the_compared_one_comes_first() -> None:
    look = look_of()
    first, second = panels(look, 2, "raw")
    assert [first.name, second.name] == ["model 1", "model 0"]
    for panel in (first, second):
        assert panel.map_THW.mean() == pytest.approx(1)
        assert panel.share_T.sum() == pytest.approx(1)
    np.testing.assert_allclose(second.map_THW, look.views[0].maps.fused_MTHW[2] * T * H * W, rtol=1e-5)
    assert not np.isnan(shares(np.zeros((T, H, W), np.float32))).any()


def test_the_arrays_are_what_was_read(tmp_path: Path) -> None:
    look = look_of()
    write_arrays(look, tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as stored:
        for key, view in zip(("model", "base"), look.views, strict=True):
            np.testing.assert_array_equal(stored[f"{key}_layers"], view.maps.layers_SMTHW)
            np.testing.assert_array_equal(stored[f"{key}_neutral"], view.maps.neutral_THW)
        assert stored["words"].tolist() == ["Describe", "the", "dog", "It", "runs", "A", "cat"]
        assert [
            look.texts[n][a:b] for n, (a, b) in zip(stored["word_text"], stored["word_span"], strict=True)
        ] == stored["words"].tolist()


def data_of(text: str) -> dict:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


def stored_maps(data: dict) -> np.ndarray:
    """[view, sink, map, T', H', W'] in multiples of an even spread, as the page's script reads them."""
    codes = np.frombuffer(zlib.decompress(base64.b64decode(data["maps"])), np.uint8).astype(float)
    values = np.where(codes > 0, 2 ** ((codes - 1) / data["levels"] + data["lowest"]), 0)
    return values.reshape(len(data["views"]), len(data["sinks"]), -1, *data["grid"])


@pytest.mark.parametrize("most_bytes", [10**6, 0])
def test_the_page_holds_every_map(monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", most_bytes)
    look = look_of()
    text = page.render_page(look, "relative")
    data = data_of(text)
    layered = data["words_with_layers"]
    assert layered == (list(range(7)) if most_bytes else [2])
    found = stored_maps(data)
    facts = np.frombuffer(base64.b64decode(data["facts"]), "<f4").reshape(*found.shape[:3], 1 + T)
    for v, view in enumerate(look.views):
        raw = view.maps.layers_SMTHW[:, layered].reshape(-1, T, H, W)
        relative = view.maps.relative_layers_SMTHW()[:, layered].reshape(-1, T, H, W)
        for s, (fused, layers) in enumerate(((view.maps.fused_MTHW, raw), (view.maps.relative_MTHW(), relative))):
            expected = np.concatenate([fused, layers]) * T * H * W
            np.testing.assert_allclose(found[v, s], expected, rtol=0.045, atol=2.0**page.LOWEST)
            np.testing.assert_allclose(facts[v, s, :, 0], expected.max((-3, -2, -1)), rtol=1e-5)
            np.testing.assert_allclose(facts[v, s, :, 1:], expected.sum((-2, -1)) / (T * H * W), rtol=1e-4)
    assert data["sink"] == "relative"
    assert [view["finish"] for view in data["views"]] == ["stop", "stop"]
    assert ("Single layers are here for the noun only" in text) == (most_bytes == 0)
    assert "http" not in text.replace("http-equiv", "")  # it loads nothing


def test_texts_of_strangers_stay_text() -> None:
    evil = "</script><img src=x onerror=alert(1)> \u202e{{ 7 * 7 }}"
    look = look_of("Describe the dog.", evil, "\x1b[31mred")
    look = Look(**{**vars(look), "video": "<b>.mp4"})
    text = page.render_page(look, "raw")
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "&lt;b&gt;.mp4" in text
    pieces = data_of(text)["texts"][1]
    assert "".join(piece for piece, _ in pieces) == evil.replace("\u202e", "\\u202e")
