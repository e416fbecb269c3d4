"""Captions chosen without a service: what a word is, maximal marginal relevance by hand and by a twin, the stage."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.endpoint.outcomes import Stop
from llava_v2xum.curate.stages.extractive import BALANCE, SAME_WORDS, SPREAD, ExtractiveStage, choose, extract
from llava_v2xum.curate.stages.sentence_vectors import SentenceEncoder, likeness_of_words, words
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.evaluate.models.bertscores import SHAPES_FOLDER
from llava_v2xum.shapes import event_visible, make_clip

SHARED = Path(__file__).resolve().parents[3] / "shared"
SOURCE = Source("video", Path("video.mp4"))
needs_sklearn = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")


def chosen(captions: list[str], **options) -> list[int]:
    return ExtractiveStage(**options).work(SOURCE, {"caption": {"captions": captions}}, None)["frames"]


@pytest.mark.parametrize(("text", "found"), [
    ("A Red circle, moves!", ["a", "red", "circle", "moves"]),
    ("don't 3.5 x_1", ["don", "t", "3", "5", "x", "1"]),
    ("Straße STRASSE ﬁne", ["strasse", "strasse", "fine"]),
    ("红色圆形", ["红色", "色圆", "圆形"]),
    ("一只dog走", ["一只", "dog", "走"]),
    ("猫", ["猫"]),
    ("ด้านบน", ["ด้", "้า", "าน", "นบ", "บน"]),
    ("دَائِرَةٌ حمراء", ["دَائِرَةٌ", "حمراء"]),
    ("लाल वृत्त", ["लाल", "वृत्त"]),
    ("빨간 원이", ["빨간", "원이"]),
    ("!? ...", ["!", "?", ".", ".", "."]),
    ("🙂🙃", ["🙂", "🙃"]),
    ("", [""]),
])  # fmt: skip
def test_words(text, found):
    import unicodedata

    assert words(text) == [unicodedata.normalize("NFKC", word) for word in found]


def cosine(one: dict[str, float], other: dict[str, float]) -> float:
    dot = sum(weight * other.get(word, 0) for word, weight in one.items())
    return dot / math.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))


def twin_vectors(captions: list[str]) -> list[dict[str, float]]:
    """TF-IDF as scikit-learn documents it: count * (ln((1 + n) / (1 + df)) + 1)."""
    counts = [Counter(words(text)) for text in captions]
    df = Counter(word for count in counts for word in count)
    return [
        {word: often * (math.log((1 + len(counts)) / (1 + df[word])) + 1) for word, often in count.items()}
        for count in counts
    ]


def twin_extract(captions: list[str], fraction: float) -> list[int]:
    """The definition, one caption and one pair at a time."""
    vectors, total = twin_vectors(captions), len(captions)
    count = max(1, round(fraction * total))
    centroid: Counter = Counter()
    for vector in vectors:
        norm = math.sqrt(sum(weight * weight for weight in vector.values()))
        for word, weight in vector.items():
            centroid[word] += weight / norm / total
    taken: list[int] = []
    while len(taken) < count:
        best, best_score = None, -math.inf
        for place in range(total):
            if any(cosine(vectors[place], vectors[one]) >= SAME_WORDS for one in taken):
                continue
            alike = [
                cosine(vectors[place], vectors[one]) + SPREAD / (1 + abs(place - one) / (total / count))
                for one in taken
            ]
            score = round(BALANCE * cosine(vectors[place], centroid) - (1 - BALANCE) * max([0.0, *alike]), 6)
            if score > best_score:
                best, best_score = place, score
        if best is None:
            break
        taken.append(best)
    return sorted(taken)


@needs_sklearn
def test_cosines_of_words_are_those_of_the_whole_document():
    captions = ["a red star", "a red star", "a blue star", "nothing"]
    vectors = twin_vectors(captions)
    expected = [[cosine(one, other) for other in vectors[1:]] for one in vectors[1:]]
    assert likeness_of_words(captions[1:], [2, 1, 1]) == pytest.approx(np.array(expected), abs=1e-12)


def test_worked_by_hand():
    # four captions of two scenes: rows 0, 1 and 3 are alike; 2 is apart
    likeness = np.array([[1, 0.8, 0, 0.9], [0.8, 1, 0, 0.8], [0, 0, 1, 0.1], [0.9, 0.8, 0.1, 1]])
    same = likeness > 0.95
    # means of the rows: .675 .65 .275 .7: caption 3 is the nearest to the centroid
    assert choose(likeness, same, 1) == [3]
    # then 2: all others are alike to 3 by .9, .8 and .1, and being near changes that by 0.5 / (1 + d / 2) at most
    assert choose(likeness, same, 2) == [2, 3]
    # of three of four the mean distance is 4 / 3. 0 repeats 3 by .9 + .5 / (1 + 9 / 4) = 1.054; 1 repeats it by
    # .8 + .5 / (1 + 6 / 4) = 1, and its neighbour 2 by 0 + .5 / (1 + 3 / 4) = .286: 1 is taken, though 0 is nearer to
    # the centroid by .025 / .758 = .033 (times .3; .7 times .054 weighs more)
    assert choose(likeness, same, 3) == [1, 2, 3]
    assert choose(likeness, same, 4) == [0, 1, 2, 3]
    same[0, 3] = same[3, 0] = True  # 0 has the words of 3: never both
    assert choose(likeness, same, 4) == [1, 2, 3]


def test_ties_go_to_the_earliest():
    assert choose(np.ones((5, 5)), np.eye(5, dtype=bool), 1) == [0]
    # two scenes that are as long: the first caption, then of the other scene the one that is farthest from it
    scenes = np.kron(np.eye(2), np.ones((3, 3)))
    assert choose(scenes, scenes > 0, 6) == [0, 5]


@needs_sklearn
@pytest.mark.parametrize("seed", range(6))
def test_as_the_definition_says(seed):
    rng = random.Random(seed)
    known = ["man", "dog", "runs", "the", "a", "red", "ball", "on"]
    pool = [" ".join(rng.choices(known, k=rng.randint(2, 7))) for _ in range(9)]
    captions = [text for _ in range(14) for text in [rng.choice(pool)] * rng.randint(1, 4)]
    for fraction in (0.05, 0.1639, 0.6):
        assert extract(captions, fraction) == twin_extract(captions, fraction)


@needs_sklearn
@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=25), st.floats(0.01, 1))
def test_any_texts(captions, fraction):
    frames = extract(captions, fraction)
    assert frames == sorted(set(frames))
    assert 1 <= len(frames) <= max(1, round(fraction * len(captions)))
    assert set(frames) <= set(range(len(captions)))
    assert len({tuple(words(captions[frame])) for frame in frames}) == len(frames)
    assert extract([text.upper() for text in captions], fraction) == extract(
        [f" {text.upper()}\n" for text in captions], fraction
    )


@needs_sklearn
def test_one_caption_and_equal_captions():
    assert chosen(["A red circle."]) == [0]
    assert chosen(["A red circle."] * 200) == [0]
    assert chosen(["?!"] * 50 + ["..."] * 50, fraction=0.5) == [0, 99]
    assert chosen(["", " "]) == [0]


@needs_sklearn
@pytest.mark.parametrize("scenes", [
    ["一个红色的圆形在上面移动。", "一只狗在草地上奔跑。", "背景是空的。"],
    ["دائرة حمراء تتحرك في الأعلى.", "كلب يركض على العشب.", "الخلفية فارغة."],
    ["ลูกบอลสีแดงกลิ้งไป", "สุนัขวิ่งบนสนามหญ้า", "ฉากหลังว่างเปล่า"],
    ["लाल वृत्त ऊपर चलता है।", "एक कुत्ता घास पर दौड़ता है।", "पृष्ठभूमि खाली है।"],
])  # fmt: skip
def test_texts_in_other_scripts(scenes):
    captions = [scene for scene in scenes for _ in range(20)]
    frames = chosen(captions)
    assert [frame // 20 for frame in frames] == [0, 1, 2], "each scene once"


@needs_sklearn
def test_a_clips_events_are_all_told():
    clip = make_clip(81, 4)
    shown = [event_visible(clip, second * clip.fps) for second in range(int(clip.duration_seconds))]
    captions = [event.sentence if event else "An empty background." for event in shown]
    frames = chosen(captions)
    assert {captions[frame] for frame in frames} == set(captions) and len(set(captions)) > 2
    assert len(frames) == len(set(captions)), "each once"


@needs_sklearn
def test_what_is_taken_of_a_long_scene_is_spread_over_it():
    """One scene of 300 s whose wording changes at random: no second is far from a frame that is taken."""
    rng = random.Random(0)
    starts = ["The image shows", "In the image", "We see", "This is"]
    ends = ["at a table.", "near a table, smiling.", "in a kitchen.", "with a cup on the table.", "beside a window."]
    captions = [f"{rng.choice(starts)} a man in a blue shirt {rng.choice(ends)}" for _ in range(300)]
    captions[200:203] = ["A dog enters."] * 3
    frames = chosen(captions, fraction=0.06)
    assert len(frames) == 18
    assert {200, 201, 202} & set(frames)
    farthest = max(min(abs(second - frame) for frame in frames) for second in range(300))
    assert farthest < 1.5 * 300 / 18, frames


@needs_sklearn
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not there")
def test_the_published_example():
    entry = json.loads((SHARED / "data" / "instruct_v2xum_example.json").read_text())[0]
    lines = [line.partition(">]")[2] for line in entry["conversations"][1]["value"].strip().split("\n")]
    starts = [int(second) for second in entry["meta"]["token"].values()]
    captions = [lines[sum(start <= second for start in starts) - 1] for second in range(63)]
    frames = chosen(captions)
    assert len(frames) == round(0.1639 * 63)
    assert len({captions[frame] for frame in frames}) == len(frames), "no sentence twice"
    assert len(chosen(captions, fraction=1)) == len(set(lines))


@needs_sklearn
@pytest.mark.parametrize("encoder", [None, "shapes"])
def test_threads_and_pickles_choose_alike(encoder):
    stage = ExtractiveStage(encoder=encoder, device="cpu")
    copy = pickle.loads(pickle.dumps(stage))
    captions = [f"A red star moves across the {place}." for place in ("top", "top", "bottom")]
    before = {"caption": {"captions": captions * 9}}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stage.work(SOURCE, before, None), range(8)))
    assert all(one == found[0] for one in found)
    assert copy.work(SOURCE, before, None) == pickle.loads(pickle.dumps(stage)).work(SOURCE, before, None) == found[0]
    assert copy.settings() == stage.settings()


@pytest.mark.pinned
def test_an_encoder_gives_the_mean_of_its_tokens():
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["A red star moves across the top.", "An empty background.", "A red star moves " * 30]
    encoder = SentenceEncoder("shapes", device="cpu")
    vectors = encoder.vectors(texts)
    tokenizer, model = AutoTokenizer.from_pretrained(SHAPES_FOLDER), AutoModel.from_pretrained(SHAPES_FOLDER).eval()
    for text, vector in zip(texts, vectors):
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=62)
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].double().mean(0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert np.abs(encoder.likeness(texts) - vectors @ vectors.T).max() < 1e-12


@needs_sklearn
def test_an_encoder_sees_what_words_do_not():
    red, blue = "A red star moves across the top.", "A blue star moves across the top."
    captions = [red, "There is a red star at the top.", blue]
    assert chosen(captions, fraction=0.67, encoder="shapes", device="cpu") == [0, 2]
    assert chosen(captions, fraction=0.67) == [0, 1], "the second has the fewest words of the first"


def test_settings_and_what_cannot_be(tmp_path):
    assert ExtractiveStage().settings() == {
        "method": "maximal marginal relevance", "compared_by": "words", "fraction": 0.1639, "balance": BALANCE,
        "spread": SPREAD, "same_words": SAME_WORDS,
    }  # fmt: skip
    assert ExtractiveStage(encoder="owner/name").settings()["compared_by"] == "owner/name"
    shapes = ExtractiveStage(encoder="shapes").settings()
    for place in ("one", "two"):
        folder = tmp_path / place
        folder.mkdir()
        for file in SHAPES_FOLDER.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        assert ExtractiveStage(encoder=str(folder)).settings() == shapes, "where a folder is does not count"
    (folder / "vocab.txt").write_text("other")
    assert ExtractiveStage(encoder=str(folder)).settings() != shapes
    (folder / "model.safetensors").unlink()
    with pytest.raises(Stop, match="--extract-encoder: .*two: expected weights"):
        ExtractiveStage(encoder=str(folder)).settings()
    with pytest.raises(Stop, match="there is no folder /nowhere/at/all"):
        ExtractiveStage(encoder="/nowhere/at/all").settings()
    with pytest.raises(Stop, match="cannot be loaded: give a folder that has it, or leave the option out"):
        SentenceEncoder(str(tmp_path)).vectors(["a"])


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, llava_v2xum.curate.stages.extractive as e, llava_v2xum.curate.stages.filtering as f\n"
        "e.ExtractiveStage(encoder='shapes').settings(), f.FilterStage(threshold=None).settings()\n"
        "print([name for name in ('torch', 'transformers', 'sklearn', 'bert_score', 'llava') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
