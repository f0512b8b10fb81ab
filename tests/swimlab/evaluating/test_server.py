"""A served model answers as a loaded one is asked: pictures and a question, over a real HTTP server that misbehaves."""

import base64
import io
import json

import numpy as np
import pytest
from answering_kit import WORLD, benchmark, prepare_here
from llm_server import KEY, Model, Reply
from PIL import Image

from swim.evaluation.decoding import Decoding
from swimlab.data.prepared_clips import StoredClips, load_prepared
from swimlab.evaluating.answering import AnsweringError, answer
from swimlab.evaluating.generation import ServedModel, of_server
from swimlab.evaluating.scores import score
from swimlab.llm.client import EndpointConfig
from swimlab.store.sweep_store import SweepStore


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    prepare_here(monkeypatch)
    served = ServedModel(model="vlm", params={"seed": 1})
    generation = of_server(
        served, benchmark(tmp_path), tmp_path / "cache", system="Be brief.", decoding=Decoding(max_new_tokens=9)
    )
    store = SweepStore(str(tmp_path / "store"))

    def ask(server):
        endpoint = EndpointConfig(base_url=server.url, model="-", retries=0, timeout_s=5.0)
        return answer(generation, store, tmp_path / "cache", endpoint=endpoint)

    return store, generation, ask


def question(body):
    return body["messages"][-1]["content"][-1]["text"]


def pictures(body):
    """The frames of a request."""
    urls = [part["image_url"]["url"] for part in body["messages"][-1]["content"][:-1]]
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls])


def test_frames_go_as_pictures_and_nothing_is_asked_twice(bench):
    store, generation, ask = bench
    with Model(lambda body, n: Reply(question(body).replace("Describe", "I see"))) as server:
        stored = ask(server)
        assert len(server.bodies) == 3 * WORLD.clips
        store.backend.delete_many(store.list_files("generations"))
        again = ask(server)  # from the answers that were kept
        assert len(server.bodies) == 3 * WORLD.clips
    answers = again.answers()
    assert answers == stored.answers()
    assert all(a.text == a.question.replace("Describe", "I see") and a.finish == "stop" for a in answers)
    same = [body for body in server.bodies if question(body) == answers[0].question]
    told = {name: value for name, value in same[0].items() if name != "messages"}
    assert told == {"model": "vlm", "temperature": 0, "seed": 1, "max_tokens": 9}
    assert same[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    (clip,) = StoredClips(store, load_prepared(store, generation.clips_fingerprint), "train").read([0])
    frames = [pictures(body).astype(float) for body in same]
    assert min(np.abs(shown - clip.frames_THWC).mean() for shown in frames) < 6
    kept = [store.read(path) for path in store.list_files("answers")]
    assert len(kept) == 3 * WORLD.clips
    assert not any(b"base64" in content or KEY.encode() in content for content in kept)
    evaluation = score(again, "described")
    assert evaluation.metrics["described.subject"] == 5
    assert score(again, "described") == evaluation
    assert evaluation.target.model == "vlm"
    assert store.evaluations() == {}


def test_a_refused_question_is_an_answer_that_failed_and_an_outage_is_tried_again(bench):
    _, _, ask = bench
    refused, down = [], [True]

    def behave(body, n):
        if "lemon" in question(body):
            refused.append(question(body))
            return Reply("no lemons here", status=400)
        if "plum" in question(body) and down[0]:
            return Reply("overloaded", status=503)
        return Reply("", refusal="I cannot") if "wave" in question(body) else Reply("A thing", finish="length")

    with Model(behave) as server:
        with pytest.raises(AnsweringError, match=r"RequestError: the endpoint answers every attempt with status 503"):
            ask(server)
        down[0] = False
        before = len(server.bodies)
        stored = ask(server)
        assert len(server.bodies) - before < 3 * WORLD.clips
    answers = stored.answers()
    assert len(answers) == 3 * WORLD.clips
    for given in answers:
        if "lemon" in given.question:
            assert (given.finish, given.failure) == ("failed", "the endpoint refuses with status 400: no lemons here")
        elif "wave" in given.question:
            assert (given.finish, given.failure) == ("failed", "I cannot")
        else:
            assert (given.finish, given.text) == ("limit", "A thing")
    assert refused
    assert sum(r.failed for r in stored.receipts()) == sum(a.finish == "failed" for a in answers)
    assert json.loads(stored.store.read(f"{stored.folder}/plan.json"))["generation"]["answerer"]["model"] == "vlm"


def test_a_served_model_needs_an_address(bench, tmp_path):
    store, generation, _ = bench
    with pytest.raises(ValueError, match="vlm is a served model: say where"):
        answer(generation, store, tmp_path / "cache")
