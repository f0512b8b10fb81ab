import base64
import io

import numpy as np
import pytest
from PIL import Image

from swimlab import Ablation, Arm, Better, Metric, NotWorse, Paper, Trend
from swimlab.report import ablation_page, attention_film, figure_data
from swimlab.report.summarise import summarise
from synthetic_results import committed, film_frames, overlay

NOUNS = ("lemon", "plum", "melon", "apple", "pear")
STEPS = (0, 10, 20)


def frames(sharpness, steps=STEPS, nouns=NOUNS):
    return film_frames(nouns, sharpness, 0, steps)


def opened(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture(scope="module")
def overlays():
    return [overlay(noun, 0.9, 0, i) for i, noun in enumerate(NOUNS)]


def test_a_film_has_a_picture_a_step_four_nouns_and_both_arms(overlays):
    made = attention_film.film(overlays, {"control": frames(0.1), "swim": frames(0.95)})
    assert (made.arms, made.steps, made.nouns) == (("control", "swim"), STEPS, NOUNS[:4])
    moving, still = opened(made.animation), opened(made.still)
    assert moving.n_frames == 3
    assert moving.size == still.size == (made.width_px, made.height_px)
    last = (
        attention_film.NOUNS * (attention_film.PANEL_PX + attention_film.LABEL_PX)
        + attention_film.HEAD_PX
        + (attention_film.NOUNS - 1) * attention_film.GAP_PX
    )
    assert moving.size == (3 * attention_film.PANEL_PX + 2 * attention_film.GAP_PX, last)
    first = np.asarray(moving.convert("RGB")).astype(int)
    moving.seek(2)
    end = np.asarray(moving.convert("RGB")).astype(int)
    kept = np.asarray(still.convert("RGB")).astype(int)
    assert np.abs(end - kept).mean() < 6 < np.abs(first - end).mean()


def test_only_steps_and_nouns_that_every_arm_has_are_shown(overlays):
    control = frames(0.1, steps=(0, 20), nouns=NOUNS[:2])
    made = attention_film.film(overlays[:3], {"control": control, "swim": frames(0.9)})
    assert (made.steps, made.nouns) == ((0, 20), NOUNS[:2])
    assert attention_film.film(overlays, {"swim": frames(0.9, steps=(20,))}) is None
    assert attention_film.film(overlays[4:], {"control": control}) is None
    assert attention_film.film(overlays, {}) is None


def test_a_film_too_large_loses_steps_but_never_the_last(overlays, monkeypatch):
    shown = {"swim": frames(0.9, steps=tuple(range(0, 90, 10)))}
    whole = attention_film.film(overlays, shown)
    monkeypatch.setattr(attention_film, "MOST_BYTES", len(base64.b64decode(whole.animation.partition(",")[2])) // 3)
    shorter = attention_film.film(overlays, shown)
    assert (shorter.steps[0], shorter.steps[-1]) == (0, 80)
    assert opened(shorter.animation).n_frames == len(shorter.steps) < 9
    monkeypatch.setattr(attention_film, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="fits into 100 bytes"):
        attention_film.film(overlays, shown)


def test_the_page_shows_the_control_beside_swim_and_stands_still_where_wanted(tmp_path):
    ablation = Ablation(
        name="control",
        arms=[
            Arm("other", {"objective.fusion": "max"}),
            Arm("swim", preset="paper"),
            Arm("off", {"objective.mask_weight": 0}),
        ],
        seeds=(0,),
        metrics=(Metric("attention.ap"),),
        paper=Paper("T", claims=(Better("swim", "off"),)),
        reference="off",
    )
    filmed = committed(
        ablation, tmp_path / "a", lambda arm, seed: {"attention.ap": 0.5}, nouns=NOUNS[:1], steps=0, filmed=STEPS
    )
    page = ablation_page.write(filmed, summarise(filmed))["index.html"]
    assert "How attention sharpens" in page
    assert "from step 0 to 20: off, swim" in page
    assert 'media="(prefers-reduced-motion: reduce)"' in page
    plain = committed(ablation, tmp_path / "b", lambda arm, seed: {"attention.ap": 0.5}, nouns=(), steps=0)
    assert "How attention sharpens" not in ablation_page.write(plain, summarise(plain))["index.html"]


def test_beside_the_control_stands_the_arm_that_the_claims_speak_for():
    def of(claims, arms=("a", "b", "off")):
        return Ablation(
            name="claimed",
            arms=[Arm(name, {"objective.mask_weight": i / 10}) for i, name in enumerate(arms)],
            seeds=(0,),
            metrics=(Metric("attention.ap"),),
            paper=Paper("T", claims=claims),
            reference="off",
        )

    assert figure_data.claimed(of([])) == "a"
    assert figure_data.claimed(of([Better("b", "a")])) == "b"
    assert figure_data.claimed(of([Better("a", "off"), Better("off", "b"), NotWorse("a", "b", margin=0.1)])) == "a"
    assert figure_data.claimed(of([Trend("mask_weight")], ("off", "a", "b"))) == "b"
    assert figure_data.claimed(of([], ("off",))) is None
