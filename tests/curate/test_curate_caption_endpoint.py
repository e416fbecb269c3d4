"""Captions by a vision endpoint: what is sent, what is stored, and what becomes of its faults."""

from __future__ import annotations

import io
import pickle
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("openai")
pytest.importorskip("jsonschema")

from openai_server import OpenAIServer, Seeded
from PIL import Image

from llava_v2xum.core.endpoint import endpoint as endpoint_module
from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.endpoint import Endpoint
from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.replies import Reply
from llava_v2xum.core.endpoint.store import Cost, Ledger, Store
from llava_v2xum.curate.stages.caption import CaptionStage
from llava_v2xum.curate.stages.prompts import Prompt
from llava_v2xum.curate.stages.vision_endpoint import EndpointCaptioner, data_url
from llava_v2xum.curate.store.stage import Rejected, Source
from llava_v2xum.evaluate.models.frames import Second, read_moments
from llava_v2xum.shapes import make_clip, write_clip

CLIP = make_clip(73, 2)
COUNT = 12
BEFORE = {"select": {"sampled_frames": COUNT}}
PROMPT = Prompt("caption", "What is here?")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    clock = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic, time=time.time)
    monkeypatch.setattr(endpoint_module, "time", clock)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return Source(CLIP.video_id, write_clip(CLIP, tmp_path_factory.mktemp("clips") / "clip.mp4"))


@pytest.fixture(scope="module")
def expected(source) -> list[str]:
    batches = read_moments(source.path, [Second(second) for second in range(COUNT)])
    sent = [data_url(frame, 512) for _, frames in batches for frame in frames]
    return [told([picture_bytes(url)], "") for url in sent]


def picture_bytes(url: str) -> bytes:
    import base64

    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    return base64.b64decode(data)


def told(pictures, prompt: str) -> str:
    """A caption that the picture alone decides."""
    (picture,) = pictures
    return f"A mean of {np.asarray(Image.open(io.BytesIO(picture))).mean():.4f}."


def ledger_of(tmp_path) -> Ledger:
    return Ledger(Store(tmp_path / "work.sqlite"), "caption", "print", "one")


def stage_of(server: OpenAIServer, **options) -> CaptionStage:
    endpoint = Endpoint(server.base_url, "eyes", **{"timeout_seconds": 20.0, "backoff_seconds": 0.01, **options})
    return CaptionStage(EndpointCaptioner(endpoint, max_new_tokens=70), PROMPT)


def test_a_request_a_frame_side_by_side(source, expected, tmp_path):
    with OpenAIServer(told, answer_seconds=0.1) as server:
        ledger = ledger_of(tmp_path)
        assert stage_of(server, concurrency=4).work(source, BEFORE, ledger) == {"captions": expected}
        assert len(server.asked) == COUNT == ledger.spent.calls
        assert 2 <= server.most_at_once <= 4
        assert ledger.spent.prompt_tokens == 3 * COUNT and ledger.spent.completion_tokens == 4 * COUNT
        body = server.asked[0].body
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("eyes", 70, 0)
        text, picture = body["messages"][0]["content"]
        assert text == {"type": "text", "text": "What is here?"}
        assert Image.open(io.BytesIO(picture_bytes(picture["image_url"]["url"]))).size == (CLIP.width, CLIP.height)


def test_faults_that_pass_change_nothing(source, expected, tmp_path):
    kinds = ("429", "500", "503", "cut", "bad_body", "empty")
    with OpenAIServer(told, faults=Seeded(0.5, seed=3, kinds=kinds)) as server:
        ledger = ledger_of(tmp_path)
        assert stage_of(server).work(source, BEFORE, ledger) == {"captions": expected}
        assert len({one.fault for one in server.asked}) > 3
        assert ledger.spent.calls == len(server.asked) > COUNT
        assert max(server.answered.values()) == 1, "an answer paid twice"


def test_what_was_answered_is_asked_once_however_the_run_ends(source, expected, tmp_path):
    with OpenAIServer(told) as server:
        ledger = ledger_of(tmp_path)
        with pytest.raises(Stop, match="budget of 5 requests"):
            stage_of(server, budget=Budget(max_requests=5), concurrency=2).work(source, BEFORE, ledger)
        assert ledger.spent.calls == len(server.asked) == 5
        assert stage_of(server).work(source, BEFORE, ledger) == {"captions": expected}
        assert set(server.answered.values()) == {1} and len(server.asked) == COUNT


def test_a_server_that_is_down_fails_the_video_and_keeps_what_it_told(source, expected, tmp_path):
    with OpenAIServer(told, faults=[None] * 4 + ["500"] * 1000) as server:
        ledger = ledger_of(tmp_path)
        with pytest.raises(Failed, match=r"frame \d+: no answer in 2 tries: HTTP 500"):
            stage_of(server, tries=2, concurrency=2).work(source, BEFORE, ledger)
        assert ledger.spent.calls == len(server.asked) > 4, "what was asked in vain is told too"
        server.faults = []
        assert stage_of(server).work(source, BEFORE, ledger) == {"captions": expected}
        assert Counter(server.answered.values()) == {1: COUNT}


def test_an_answer_that_stays_empty_fails_the_video(source, tmp_path):
    with OpenAIServer(text=lambda asked: " \n") as server:
        with pytest.raises(Failed, match="frame 0: no caption in 3 answers: the answer is empty"):
            stage_of(server, concurrency=1).work(source, BEFORE, ledger := ledger_of(tmp_path))
        assert [len(one.body["messages"]) for one in server.asked[:3]] == [1, 3, 3]
        assert ledger.spent.calls == len(server.asked) and ledger.spent.prompt_tokens > 0
        assert max(server.answered.values()) == 1, "asked in other words, or the same would come again"


def test_a_refused_key_stops_the_run(source, tmp_path):
    with OpenAIServer(told, faults=["401"] * 100) as server, pytest.raises(Stop, match="the key"):
        stage_of(server).work(source, BEFORE, ledger_of(tmp_path))


class Told:
    """Stands for an endpoint whose next answers are known."""

    model, concurrency = "eyes", 3

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.asked = list(replies), []

    def chat(self, messages, schema, max_tokens) -> Reply:
        self.asked.append(messages)
        return self.replies.pop(0)


def ask(*replies: Reply) -> tuple[list[str], Cost]:
    frame = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    return EndpointCaptioner(Told(*replies)).caption(frame, "What?")


def test_texts_are_cleaned_and_costs_added_up():
    empty = Reply("", None, Cost(2, 30, 0, 1.0), "the answer is empty")
    cut = Reply("A man\nwalks. He is", None, Cost(1, 40, 9, 0.5), "the answer was cut off at its most tokens")
    assert ask(empty, cut) == (["A man walks."], Cost(3, 70, 9, 1.5))


def test_a_stop_token_in_the_middle_is_asked_about_again():
    ran_on = Reply("A man walks. </s> USER: And then?", None, Cost(1))
    assert ask(ran_on, Reply("A man walks.", None, Cost(1))) == (["A man walks."], Cost(2))
    endpoint = Told(ran_on, ran_on, ran_on)
    with pytest.raises(Failed, match=r"no caption in 3 answers: the last holds < /s >"):
        EndpointCaptioner(endpoint).caption(np.zeros((1, 8, 8, 3), dtype=np.uint8), "What?")
    assert [messages[-1]["content"] for messages in endpoint.asked[1:]] == [
        f"Answer {number} of 3 holds < /s >. Describe the frame in words." for number in (1, 2)
    ], "a server might read the token itself"


def test_a_frame_that_a_content_filter_takes_rejects_the_video():
    with pytest.raises(Rejected, match="content filter") as caught:
        ask(Reply("", None, Cost(1), "the server's content filter took the prompt"))
    assert caught.value.kind == "caption"


@pytest.mark.parametrize("size, sent", [((900, 1600), (288, 512)), ((1600, 900), (512, 288)), ((100, 60), (100, 60))])
def test_large_frames_are_sent_smaller(size, sent):
    frame = np.full((*size, 3), (200, 30, 30), dtype=np.uint8)
    picture = np.asarray(Image.open(io.BytesIO(picture_bytes(data_url(frame, 512)))))
    assert picture.shape == (*sent, 3)
    assert np.abs(picture.astype(int) - frame[0, 0]).max() < 12


def test_settings_name_no_address_and_survive_pickling():
    captioner = EndpointCaptioner(Endpoint("http://somewhere:1234/v1", "eyes"), max_side=300)
    settings = captioner.settings()
    assert "somewhere" not in str(settings) and (settings["captioner"], settings["max_side"]) == ("eyes", 300)
    assert pickle.loads(pickle.dumps(captioner)).settings() == settings
    assert EndpointCaptioner(Endpoint("http://elsewhere/v1", "eyes"), max_side=300).settings() == settings
    assert EndpointCaptioner(Endpoint("http://elsewhere/v1", "eyes", seed=5), max_side=300).settings() != settings
