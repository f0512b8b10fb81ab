"""Prompts "ask" of the embedded data: only a look at the object asked about pays, and the answer is one token."""

from collections import Counter, defaultdict

import pytest

from swim.data.annotations.markup import strip_tags
from swim.data.annotations.samples import parse_row
from swim.data.synthetic import vocabulary as words
from swim.data.synthetic.shapes_world import draw, row
from swim.data.synthetic.tokenizer import build_tokenizer
from swim.data.types import DataError
from swim.evaluation.answer_ceiling import contested, guesses
from swim.evaluation.description_judge import can_judge, ceiling, judge
from swim.recipe import ShapesWorld

ASK = ShapesWorld(prompts="ask", objects=4, seed=6)
PAIR = ShapesWorld(prompts="ask", objects=2, turns=2, seed=6)
ALONE = ShapesWorld(prompts="ask", objects=1, seed=6)


def asked(config, index):
    """The drawn clip, and for each turn: the object asked about, the property and the turn."""
    scene = draw(config, "held_out", index)
    sample = parse_row(row(config, "held_out", index)[0], file="held_out.json", row=index)
    by_noun = {obj.noun: obj for obj in scene.objects}
    turns = [(by_noun[strip_tags(turn.human)[1][0].text], turn.slots[0].name, turn) for turn in sample.turns]
    return scene, sample, turns


@pytest.mark.parametrize("config", [ASK, PAIR], ids=["4", "2"])
def test_every_value_is_that_of_half_the_objects_and_no_motion_repeats(config):
    for index in range(10):
        objects = draw(config, "train", index).objects
        for name in ("size", "pattern"):
            assert Counter(getattr(obj, name) for obj in objects) == dict.fromkeys(
                words.VALUES[name], config.objects // 2
            )
        assert len({obj.motion for obj in objects}) == len({obj.noun for obj in objects}) == config.objects


@pytest.mark.parametrize("config", [ASK, PAIR], ids=["4", "2"])
def test_a_conversation_asks_another_property_of_another_object_in_each_turn(config):
    """So that no earlier answer tells anything about a later one."""
    for index in range(10):
        scene, sample, turns = asked(config, index)
        assert len(turns) == config.turns
        assert len({obj.noun for obj, _, _ in turns}) == len({name for _, name, _ in turns}) == len(turns)
        for (obj, name, turn), track in zip(turns, sample.tracks, strict=True):
            assert turn.gpt == turn.word_at(turn.slots[0]) == getattr(obj, name)
            assert obj.noun not in turn.gpt
            mask_THW = scene.masks_NTHW[scene.objects.index(obj)]
            assert sorted(track) == [t for t in range(4) if mask_THW[t].any()]
        assert contested(sample.turns) == [True] * len(turns)


def test_of_one_object_all_properties_are_asked_and_none_is_contested():
    values = Counter()
    for index in range(30):
        scene, sample, turns = asked(ALONE, index)
        assert sorted(name for _, name, _ in turns) == sorted(words.VALUES)
        assert sample.tracks[0] == sample.tracks[2]
        assert contested(sample.turns) == [False] * 3
        values.update((scene.objects[0].size, scene.objects[0].pattern))
    assert min(values[word] for word in ("small", "large", "plain", "striped")) > 5


def test_the_ceilings_of_answering_without_a_look_at_the_object():
    """In every clip the commonest value is that of half of the objects, or of a quarter, whichever is asked about."""
    hits = defaultdict(list)
    for index in range(60):
        scene, sample, turns = asked(ASK, index)
        for (_, name, turn), hit in zip(turns, guesses(sample.turns), strict=True):
            guess = turn.slots[0].commonest
            right = sum(getattr(obj, name) == guess for obj in scene.objects)
            assert right / len(scene.objects) == {"size": 0.5, "pattern": 0.5, "motion": 0.25}[name]
            hits[name].append(hit)
    # Five standard errors of 60 fair draws.
    for name, share in {"size": 0.5, "pattern": 0.5, "motion": 0.25}.items():
        assert sum(hits[name]) / 60 == pytest.approx(share, abs=5 * (share * (1 - share) / 60) ** 0.5)


@pytest.mark.parametrize("changes", [{"objects": 3}, {"objects": 6}, {"turns": 4}])
def test_clips_that_would_give_answers_away_are_refused(changes):
    with pytest.raises(ValueError, match="objects must be 1, 2 or 4"):
        draw(ASK.model_copy(update=changes), "train", 0)


def test_every_answer_is_one_token_and_other_recipes_keep_theirs():
    asking, describing = build_tokenizer("ask"), build_tokenizer()
    for values in words.VALUES.values():
        for value in values:
            assert len(asking.encode(value)) == 1
    assert all(asking.decode(asking.encode(text)) == text for text in words.ask_corpus())
    assert all(len(asking.encode(text)) == len(text.split()) + 1 for text in words.ask_corpus() if "?" in text)
    assert len(asking) > len(describing)
    # Another vocabulary would be other weights: what it was before there were questions for one word.
    assert len(describing) == 371
    assert describing.encode(" striped and moves nowhere.") == DESCRIBING


DESCRIBING = [297, 277, 276, 315, 21]


def test_a_row_says_itself_whether_its_objects_differ():
    entry = row(ASK, "train", 0)[0]
    entry["conversations"][1]["slots"][0]["contested"] = "yes"
    with pytest.raises(DataError, match="contested is no true or false"):
        parse_row(entry, file="mine.json", row=0)
    del entry["conversations"][1]["slots"][0]["contested"]
    (slot,) = parse_row(entry, file="mine.json", row=0).turns[0].slots
    assert slot.contested is None


@pytest.mark.parametrize(
    ("text", "score"), [("striped", 5), ("Striped.", 5), ("plain", 0), ("plain, striped", 0), ("small", 0), ("", 0)]
)
def test_one_word_is_judged_by_the_first_of_its_kind(text, score):
    number = 0
    while True:
        _, sample, turns = asked(ASK, number)
        place = [name for _, name, _ in turns].index("pattern")
        if turns[place][2].gpt == "striped":
            break
        number += 1
    assert can_judge(turns[place][2])
    assert judge(text, turns[place][2]) == {"avg": score}
    assert ceiling(sample.turns, place) == {"avg": 0}  # of two values the first by alphabet is guessed
