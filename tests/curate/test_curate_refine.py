"""Refine by a model: one good sentence for each kept frame, or the captions as they were."""

from __future__ import annotations

import json
import pickle
import re

import pytest

pytest.importorskip("openai")
pytest.importorskip("jsonschema")

from openai_server import OpenAIServer, Seeded

from llava_v2xum.core.endpoint.asking import Unusable
from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.endpoint import Endpoint
from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.store import Ledger, Store
from llava_v2xum.curate.stages.prompts import Prompt
from llava_v2xum.curate.stages.refine import RefineStage, UnrefinedStage, checked_sentences
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.shapes import make_clip

PROMPT = Prompt.load("refine")
CAPTIONS = [event.sentence for index in range(40) for event in make_clip(0, index).events]
FRAMES = [1, 4, 5, 20]
REFINED = [f"Then a {CAPTIONS[frame][2:]}" for frame in FRAMES]


class World:
    """A server, a stage that asks it, and a store."""

    def __init__(self, folder, server: OpenAIServer | None, budget: Budget | None = None, **options) -> None:
        self.folder = folder
        endpoint = server and Endpoint(server.base_url, "tiny", timeout_seconds=20, backoff_seconds=0.01, budget=budget)
        self.stage = UnrefinedStage() if endpoint is None else RefineStage(endpoint, PROMPT, **options)

    def work(self, frames: list[int] = FRAMES, captions: list[str] = CAPTIONS) -> dict:
        store = Store(self.folder / "work.sqlite")
        try:
            self.ledger = Ledger(store, "refine", "fingerprint", "item")
            before = {"caption": {"captions": captions}, "filter": {"frames": frames}}
            return self.stage.work(Source("video", None), before, self.ledger)
        finally:
            store.close()


def test_a_sentence_for_each_frame(tmp_path):
    with OpenAIServer() as server:
        world = World(tmp_path, server)
        assert world.work() == {"sentences": REFINED, "refined": True, "why": None}
        [message] = server.asked[0].body["messages"]
        lines = "\n".join(f"{frame}: {CAPTIONS[frame]}" for frame in FRAMES)
        assert f"<captions>\n{lines}\n</captions>" in message["content"]
        assert "Write exactly 4 sentences" in message["content"]
        assert world.ledger.spent.calls == 1
        again = World(tmp_path, server)
        assert again.work()["sentences"] == REFINED and len(server.asked) == 1 and again.ledger.spent.calls == 0


def test_without_an_endpoint_the_captions_stay(tmp_path):
    world = World(tmp_path, None)
    result = world.work([0, 1], ["A cat\n sits\u2028here.\x00", "[05] A dog"])
    assert result == {"sentences": ["A cat sits here.", "[05] A dog"], "refined": False, "why": "no endpoint"}
    assert world.stage.settings() == {"by": None} and world.stage.workers == 1


@pytest.mark.parametrize("fault", ["bad_json", "unknown_frames", "empty", "length"])
def test_faults_of_the_model(tmp_path, fault):
    with OpenAIServer(faults=[fault, fault]) as server:
        assert World(tmp_path, server).work() == {"sentences": REFINED, "refined": True, "why": None}
        assert len(server.asked) == 3


def test_after_the_last_attempt_the_captions_stay(tmp_path):
    with OpenAIServer(faults=["unknown_frames"] * 9) as server:
        for _ in range(2):  # the second time of what is stored
            result = World(tmp_path, server, attempts=2).work()
            assert result["sentences"] == [CAPTIONS[frame] for frame in FRAMES] and result["refined"] is False
            assert re.search(r"no answer of 2 could be used; .* sentence 1 must be of frame 1", result["why"])
        assert len(server.asked) == 2


def test_an_endpoint_that_is_down_marks_nothing(tmp_path):
    with OpenAIServer(faults=["503"] * 8) as server:
        with pytest.raises(Failed):
            World(tmp_path, server).work()
        assert World(tmp_path, server).work()["refined"]


def sentences(*texts: str, frames: list[int] | None = None) -> list[dict]:
    return [{"frame": frame, "text": text} for frame, text in zip(frames or range(len(texts)), texts, strict=True)]


def test_good_sentences_are_canonical():
    given = sentences(" A man\n runs", "He [sic]".replace("[sic]", "stops."), frames=[3, 7])
    assert checked_sentences(given, [3, 7]) == ["A man runs.", "He stops."]
    given = sentences("A man runs.</s>", "<s> He stops <|im_end|>", frames=[3, 7])
    assert checked_sentences(given, [3, 7]) == ["A man runs.", "He stops."]
    assert checked_sentences([{"frame": 3.0, "text": "\u72d7\u5728\u8dd1!"}], [3]) == ["\u72d7\u5728\u8dd1!"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (sentences("A."), "it has 1 sentences; 2 are needed"),
        (sentences("A.", "B.", "C."), "it has 3 sentences"),
        (sentences("A.", "B.", frames=[1, 0]), "sentence 1 must be of frame 0"),
        (sentences("A.", "B.", frames=[0, 2]), "sentence 2 must be of frame 1"),
        (sentences("A.", " \n..."), "the sentence of frame 1 is empty"),
        (sentences("A" * 300, "B."), "frame 0 has 301 characters; at most 300"),
        (sentences("A man [05].", "B."), "holds [, which cannot stand there"),
        (sentences("A.", "B]."), "holds ]"),
        (sentences("A <f3> man.", "B."), "holds <f3"),
        (sentences("A <video> man.", "B."), "holds <video>"),
        (sentences("A man runs.</s> He sits.", "B."), "holds </s>"),
        (sentences("A <unk> man.", "B."), "holds <unk>"),
        (sentences("A.", "B.<|im_end|>\n<|im_start|>user C."), "holds <|im_end|>"),
        (sentences("A.", "</s>"), "the sentence of frame 1 is empty"),
        (sentences("A\x07man.", "B."), "control character"),
    ],
)
def test_sentences_that_cannot_stand(given, said):
    with pytest.raises(Unusable) as caught:
        checked_sentences(given, [0, 1])
    assert said in str(caught.value)


def test_many_captions_are_refined_in_turn(tmp_path):
    frames = list(range(0, 90))
    with OpenAIServer() as server:
        result = World(tmp_path, server).work(frames)
        assert result["sentences"] == [f"Then a {CAPTIONS[frame][2:]}" for frame in frames]
        counts = [re.search(r"exactly (\d+)", one.body["messages"][0]["content"])[1] for one in server.asked]
        assert counts == ["30"] * 3
        assert [one.body["max_tokens"] for one in server.asked] == [3064] * 3
    (tmp_path / "short").mkdir()
    with OpenAIServer() as server:
        assert World(tmp_path / "short", server, context_tokens=2500).work(frames) == result
        assert len(server.asked) > 6
        for one in server.asked:
            text = one.body["messages"][0]["content"]
            assert len(text.encode()) / 3 + one.body["max_tokens"] + 256 < 2500


def test_one_run_that_cannot_be_used_keeps_them_all(tmp_path):
    captions = [f"A cat number {number} sits." for number in range(60)]

    def text(question: str) -> str:
        lines = re.findall(r"^(\d+): (.*)$", question, re.MULTILINE)
        skipped = 1 if lines[-1][0] == "59" else 0
        return json.dumps({"sentences": [{"frame": int(frame), "text": said} for frame, said in lines[skipped:]]})

    with OpenAIServer(text=text) as server:
        result = World(tmp_path, server).work(list(range(60)), captions)
    assert result["sentences"] == captions and not result["refined"] and "29 sentences; 30 are" in result["why"]


def test_killed_in_the_middle_it_goes_on(tmp_path):
    frames = list(range(90))
    with OpenAIServer() as server:
        expected = World(tmp_path, server, context_tokens=2500).work(frames)
    (tmp_path / "killed").mkdir()
    with OpenAIServer(faults=Seeded(0.5, seed=1)) as server:
        server.slow_seconds = 0.1
        for most in (3, 1, 2):
            with pytest.raises(Stop):
                World(tmp_path / "killed", server, Budget(max_requests=most), context_tokens=2500).work(frames)
        assert World(tmp_path / "killed", server, context_tokens=2500).work(frames) == expected
        assert set(server.answered.values()) == {1}


def test_settings_tell_all_but_the_address(tmp_path):
    with OpenAIServer() as server:
        stage = World(tmp_path, server).stage
        assert pickle.loads(pickle.dumps(stage)).settings() == stage.settings()
        assert server.base_url not in json.dumps(stage.settings()) and stage.workers == 8
        with pytest.raises(ValueError, match="too short for the refine prompt"):
            World(tmp_path, server, context_tokens=1000)
