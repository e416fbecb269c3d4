"""Captions that repeat an earlier one: the order by hand and by a twin, real BERTScore, faults."""

from __future__ import annotations

import importlib.metadata
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.core.endpoint.outcomes import Stop
from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.curate.stages import filtering
from llava_v2xum.curate.stages.filtering import FilterStage, PairScorer, keep_first
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.evaluate.models.bertscores import SHAPES_FOLDER, BertScoreOptions, load_scorer
from llava_v2xum.shapes import COLORS, PLACES, SHAPES, sentence_of

SOURCE = Source("video", Path("video.mp4"))
needs_bert_score = pytest.mark.skipif(find_spec("bert_score") is None, reason="bert-score is not installed")


def filtered(captions: list[str], frames: list[int] | None = None, **options) -> dict:
    stage = FilterStage("shapes", device="cpu", **options)
    frames = list(range(len(captions))) if frames is None else frames
    return stage.work(SOURCE, {"caption": {"captions": captions}, "extract": {"frames": frames}}, None)


def table(size: int, **pairs: float) -> np.ndarray:
    """[M, M] from "a_b": score."""
    scores = np.zeros((size, size))
    for name, score in pairs.items():
        earlier, later = map(int, name.strip("p").split("_"))
        scores[earlier, later] = score
    return scores


@pytest.mark.parametrize(("scores", "kept", "dropped"), [
    (table(3), [0, 1, 2], []),
    (table(2, p0_1=0.94), [0], [(1, 0, 0.94)]),
    (table(2, p0_1=0.93), [0, 1], []),  # over, not at
    (table(3, p0_1=0.95, p1_2=0.99), [0, 2], [(1, 0, 0.95)]),  # one that went makes no other go
    (table(3, p0_1=0.95, p1_2=0.99, p0_2=0.931), [0], [(1, 0, 0.95), (2, 0, 0.931)]),
    (table(4, p0_3=0.94, p1_3=0.97, p2_3=0.96), [0, 1, 2], [(3, 1, 0.97)]),  # told with the one that it is most alike
    (table(3, p0_2=0.98, p1_2=0.98), [0, 1], [(2, 0, 0.98)]),  # the earliest of several
    (table(5, p0_1=1, p0_2=1, p0_3=1, p0_4=1), [0], [(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 1)]),
    (table(5, p0_1=0.99, p1_2=0.99, p2_3=0.99, p3_4=0.99), [0, 2, 4], [(1, 0, 0.99), (3, 2, 0.99)]),  # a slow change
    (table(1), [0], []),
])  # fmt: skip
def test_order_by_hand(scores, kept, dropped):
    told = [{"frame": frame, "like": like, "score": score} for frame, like, score in dropped]
    assert keep_first(scores, 0.93) == (kept, told)


@pytest.mark.parametrize("seed", range(20))
def test_order_by_a_twin(seed):
    scores = np.triu(np.random.default_rng(seed).choice([0.2, 0.7, 0.93, 0.95, 0.99], size=(12, 12)), 1)
    left = list(range(12))
    kept = []
    while left:  # take the first that is left, and strike out what repeats it
        kept.append(left.pop(0))
        left = [place for place in left if scores[kept[-1], place] <= 0.93]
    found, dropped = keep_first(scores, 0.93)
    assert found == kept
    assert sorted(found + [one["frame"] for one in dropped]) == list(range(12))
    for one in dropped:
        assert one["like"] in kept and one["like"] < one["frame"] and one["score"] > 0.93


class Table:
    """In place of the scorer: alike where the captions' first letters are."""

    def scores(self, captions):
        letters = np.array([text[0] for text in captions])
        return np.triu((letters[:, None] == letters) * 0.95, 1)


def test_frames_are_those_of_the_captions():
    stage = FilterStage("none")
    stage._scorer = Table()
    before = {"caption": {"captions": list("xxabxcax")}, "extract": {"frames": [2, 3, 5, 6]}}
    assert stage.work(SOURCE, before, None) == {
        "frames": [2, 3, 5], "dropped": [{"frame": 6, "like": 2, "score": 0.95}],
    }  # fmt: skip
    assert before["extract"]["frames"] == [2, 3, 5, 6]


def test_no_threshold_keeps_all_and_loads_nothing(monkeypatch):
    monkeypatch.setattr(filtering, "load_scorer", lambda options: pytest.fail("loaded"))
    stage = FilterStage("roberta-large", None)
    before = {"caption": {"captions": ["a", "a", "a"]}, "extract": {"frames": [0, 2]}}
    assert stage.work(SOURCE, before, None) == {"frames": [0, 2], "dropped": []}
    assert stage.settings() == {"threshold": None}


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Fourteen of the world's sentences, some of them twice or in other words."""
    rng = random.Random(3)
    kinds = [(rng.choice(SHAPES), rng.choice(list(COLORS)), rng.choice(list(PLACES))) for _ in range(8)]
    texts = [sentence_of(*kind) for kind in kinds] + ["An empty background.", "An empty scene."]
    texts += [f"There is a {color} {shape} at the {place}." for shape, color, place in kinds[:4]]
    rng.shuffle(texts)
    return texts


@needs_bert_score
def test_real_scores_pair_by_pair(captions):
    found = PairScorer(BertScoreOptions("shapes", device="cpu")).scores(captions)
    alone = load_scorer(BertScoreOptions("shapes", device="cpu"))
    for earlier, later in np.ndindex(found.shape):
        expected = alone.score([captions[later]], [captions[earlier]])[2].item() if earlier < later else 0
        # where a batch is padded, the package takes a word's best cosine for 0 if all are negative: far from any 0.93
        assert found[earlier, later] == pytest.approx(expected, abs=2e-6 if expected > 0.5 else 0.02)
    assert (found > 0.93).sum() >= 5


@needs_bert_score
def test_what_tells_the_same_goes(captions):
    result = filtered(captions)
    dropped = {one["frame"]: one for one in result["dropped"]}
    assert result["frames"] == sorted(result["frames"]) and len(dropped) >= 5
    meant = [tuple(sorted({*COLORS, *PLACES, *SHAPES} & set(text.strip(".").split()))) for text in captions]
    assert result["frames"] == [meant.index(one) for one in dict.fromkeys(meant)]
    assert all(meant[frame] == meant[one["like"]] and 0.93 < one["score"] <= 1 for frame, one in dropped.items())


def test_captions_that_the_tiny_encoder_does_not_know_are_told_of(caplog):
    stage = FilterStage("shapes")
    stage._scorer = Table()
    for text, told in (("A red star moves across the top.", 0), ("Two old men play guitars in the middle.", 1)):
        stage.work(SOURCE, {"caption": {"captions": [text]}, "extract": {"frames": [0]}}, None)
        assert len(caplog.records) == told
    assert "video: BERTScore's encoder 'shapes' knows the sentences of rendered clips alone" in caplog.text
    assert "5 of 8 words are others" in caplog.text


@needs_bert_score
def test_few_and_equal_captions():
    assert filtered(["A red star moves across the top."], [0]) == {"frames": [0], "dropped": []}
    assert filtered(["A red star."] * 3) == {
        "frames": [0], "dropped": [{"frame": frame, "like": 0, "score": 1.0} for frame in (1, 2)],
    }  # fmt: skip
    assert filtered(["A red star."] * 3, threshold=1)["frames"] == [0, 1, 2], "nothing is over 1"
    assert filtered(["\u200b", "日本", "?", "A red star. " * 90, "x"])["frames"][0] == 0  # no token, unknown, too long


@needs_bert_score
def test_threads_share_one_model_and_pickles_bear_none(captions, monkeypatch):
    loads = []
    monkeypatch.setattr(filtering, "load_scorer", lambda options: loads.append(options) or load_scorer(options))
    stage = FilterStage("shapes", device="cpu")
    fresh = pickle.loads(pickle.dumps(stage))
    before = {"caption": {"captions": captions}, "extract": {"frames": list(range(len(captions)))}}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: stage.work(SOURCE, before, None), range(16)))
    assert len(loads) == 1
    assert all(one == found[0] for one in found)
    after = pickle.loads(pickle.dumps(stage))
    assert len(pickle.dumps(stage)) < 2000
    assert fresh.work(SOURCE, before, None) == after.work(SOURCE, before, None) == found[0]
    assert len(loads) == 3


def test_a_score_with_a_negative_side_is_none(monkeypatch):
    """Precision and recall of opposite signs have a harmonic mean of any size."""

    class Scorer:
        def score(self, candidates, references, batch_size):
            import torch

            assert (candidates, references) == (["b", "c", "c"], ["a", "a", "b"])
            return torch.tensor([-0.1, 0.96, 0.5]), torch.tensor([0.11, 0.96, 0.5]), torch.tensor([-2.2, 0.96, 0.5])

    monkeypatch.setattr(filtering, "load_scorer", lambda options: Scorer())
    scores = PairScorer(BertScoreOptions("x")).scores(["a", "b", "c"])
    assert scores == pytest.approx(np.array([[0, 0, 0.96], [0, 0, 0.5], [0, 0, 0]]))


def test_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.3.13")
    assert FilterStage().settings() == {
        "threshold": 0.93, "model": "roberta-large", "layers": "tuned for roberta-large", "bert_score": "0.3.13",
    }  # fmt: skip
    assert FilterStage("owner/name", 0.9, num_layers=5, device="cpu").settings() == {
        "threshold": 0.9, "model": "owner/name", "layers": 5, "bert_score": "0.3.13",
    }  # fmt: skip
    shapes = FilterStage("shapes", num_layers=2).settings()
    assert shapes["model"].startswith("sha256:")
    assert FilterStage(str(SHAPES_FOLDER), num_layers=2).settings() == shapes


def test_what_cannot_be_is_told(tmp_path, monkeypatch):
    help_ = "--bertscore-model the folder.*'shapes'.*--bertscore-threshold none"

    def offline(options):
        raise OSError("We couldn't connect to the hub\nand more")

    with monkeypatch.context() as patched:
        patched.setattr(filtering, "load_scorer", offline)
        with pytest.raises(Stop, match=f"'roberta-large' cannot be used \\(We couldn't connect to the hub\\).*{help_}"):
            PairScorer(BertScoreOptions()).scores(["a", "b"])
        patched.setattr(importlib.metadata, "version", lambda name: "0.3.13")
        with pytest.raises(Stop, match=f"there is no folder /nowhere.*{help_}"):
            FilterStage("/nowhere").settings()
        with pytest.raises(Stop, match=f"expected weights.*{help_}"):
            FilterStage(str(tmp_path)).settings()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingExtra, match=r'pip install "llava_v2xum\[curate\]"'):
        FilterStage().settings()


@needs_bert_score
def test_a_layer_that_is_not_known_is_asked_for():
    stage = FilterStage(str(SHAPES_FOLDER))
    before = {"caption": {"captions": ["a", "b"]}, "extract": {"frames": [0, 1]}}
    with pytest.raises(Stop, match="no tuned layer.*--bertscore-layers N"):
        stage.work(SOURCE, before, None)
