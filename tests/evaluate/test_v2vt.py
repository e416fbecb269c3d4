"""The V2VT column on rendered clips: against plain loops with a stand-in for CLIP, and with the shapes world's own."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.keyshots import Keyshots
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.evaluate.formats.cases import Case
from llava_v2xum.evaluate.formats.predictions import PredictedSentence, Prediction
from llava_v2xum.evaluate.groups.case_vectors import predicted_moments, samples_of
from llava_v2xum.evaluate.groups.v2vt import v2vt_rows
from llava_v2xum.evaluate.metrics.crossmodal import f_clip, vt_clipscore
from llava_v2xum.evaluate.models.clip_base import split_text
from llava_v2xum.evaluate.models.clip_models import load_clip
from llava_v2xum.evaluate.models.embeddings import EmbeddingCache
from llava_v2xum.evaluate.models.frames import Frame, Prompt, Second
from llava_v2xum.media.video import read_frames, read_video
from llava_v2xum.shapes import make_clip, truth_record, videoxum_record, write_clip

SHAPES_CLIP = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "clip"
SEEDS = 6


class Colors:
    """Stands for a CLIP: a frame's vector is its mean colours by thirds, a text's comes from its letters."""

    name = digest = "colors"
    asked = 0

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        self.asked += len(frames)
        height = frames.shape[1] // 3
        thirds = [frames[:, part * height : (part + 1) * height].mean(axis=(1, 2)) for part in range(3)]
        return units(np.concatenate(thirds, axis=1) - 20)

    def embed_each_text(self, texts: list[str]) -> list[np.ndarray]:
        parts = [split_text(text, lambda part: len(part) < 80) for text in texts]
        return [units(np.stack([letters(part) for part in some])) for some in parts]


def letters(text: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).random(9)


def units(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clips():
    """The two clips with the fewest pixels in all among some."""
    made = [make_clip(7, index) for index in range(80)]
    return sorted(made, key=lambda clip: clip.width * clip.height * clip.total_frames)[:2]


@pytest.fixture(scope="module")
def videos(clips, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {clip.video_id: write_clip(clip, folder / f"{clip.video_id}.mp4") for clip in clips}


def annotation_of(clip, **changes) -> Annotation:
    record = videoxum_record(clip)
    fields = dict(
        video_id=clip.video_id, duration_seconds=record["duration"], source="videoxum",
        sampled_frames=record["sampled_frames"], selections=record["vsum_onehot"],
        sentences=tuple(AnnotatedSentence(text, tuple(span)) for text, span in
                        zip(record["tsum"], record["timestamps"])),
    )  # fmt: skip
    return Annotation(**{**fields, **changes})


def truth_of(clip, **changes) -> Prediction:
    """A perfect answer."""
    events = truth_record(clip)["events"]
    fields = dict(
        video_id=clip.video_id, num_frames=100, frames=tuple(frame for event in events for frame in event["frames"]),
        text=" ".join(event["sentence"] for event in events),
        sentences=tuple(PredictedSentence(event["sentence"], tuple(event["frames"])) for event in events),
    )  # fmt: skip
    return Prediction(**{**fields, **changes})


def values(rows, row: str = "system") -> dict[str, list[float]]:
    return {measure.name: measure.values.tolist() for measure in rows.get(row, [])}


def notes(rows, name: str, row: str = "system") -> str:
    return "; ".join(next(measure for measure in rows[row] if measure.name == name).notes)


@pytest.fixture(scope="module")
def answered(clips) -> list[Case]:
    """A middling answer to each clip: some frames are right, the text is partly wrong and in one piece."""
    cases = []
    for clip in clips:
        right = truth_of(clip)
        frames = (*right.frames[::2], 1, 50, 98)
        text = f"{clip.events[0].sentence} A dog barks at the moon while it rains. A cat sleeps."
        cases.append(Case(annotation_of(clip), truth_of(clip, frames=frames, text=text, sentences=None)))
    return cases


def plain_scores(case: Case, path: Path) -> dict[str, dict[str, float]]:
    """All rows of one video, in loops over annotators and seeds."""
    model, annotation, prediction = Colors(), case.annotation, case.prediction
    people = np.array(annotation.selections, dtype=bool)
    samples = people.shape[1]

    def choose(seconds: np.ndarray) -> np.ndarray:
        return np.array([np.argmin(np.abs(seconds - second)) for second in range(samples)])

    frames = model.embed_frames(read_frames(path, choose).frames)
    predicted = model.embed_frames(read_video(path, Timeline(100)).frames[list(prediction.frames)])
    reference = [sentence.text for sentence in annotation.sentences]
    said = [f"{part.strip()}." for part in prediction.text.split(".") if part.strip()]
    told, said = (np.concatenate(model.embed_each_text(some)) for some in (reference, said))
    whole, text = (model.embed_each_text([some])[0] for some in (" ".join(reference), prediction.text))
    mean = lambda some: float(np.mean(some))  # noqa: E731
    system = {
        "f_clip": mean([f_clip(frames[one], predicted) for one in people]),
        "cross_f_clip": (mean([f_clip(frames[one], said) for one in people]) + f_clip(predicted, told)) / 2,
        "vt_clipscore": vt_clipscore(predicted, text),
    }
    rng = np.random.default_rng([0, zlib.crc32(annotation.video_id.encode())])
    count = int(0.15 * samples)
    drawn = [np.sort(np.argsort(-row)[:count]) for row in rng.random((SEEDS, samples))]
    even = [np.array([int((part + 0.5) * samples / count) for part in range(count)])]
    seen = mean([f_clip(frames[one], told) for one in people])
    rows = {"system": system}
    for name, chosen in (("random", drawn), ("uniform", even), ("human", list(people))):
        others = [[o for o in range(len(people)) if name != "human" or o != at] for at in range(len(chosen))]
        f_clips = [mean([f_clip(frames[people[o]], frames[sel]) for o in some]) for some, sel in zip(others, chosen)]
        rows[name] = {
            "f_clip": mean(f_clips),
            "cross_f_clip": (seen + mean([f_clip(frames[sel], told) for sel in chosen])) / 2,
            "vt_clipscore": mean([vt_clipscore(frames[sel], whole) for sel in chosen]),
        }
    return rows


def test_every_row_against_plain_loops(answered, videos):
    rows = v2vt_rows(answered, videos, Colors(), seeds=SEEDS)
    assert list(rows) == ["system", "random", "uniform", "human"]
    for place, case in enumerate(answered):
        expected = plain_scores(case, videos[case.annotation.video_id])
        for row, measures in expected.items():
            found = {name: one[place] for name, one in values(rows, row).items()}
            assert found == pytest.approx(measures, abs=1e-5), row


def test_fewer_frames_without_baselines(answered, videos):
    """The same figures of the system, from the chosen frames alone."""
    model, whole = Colors(), Colors()
    rows = v2vt_rows(answered, videos, model, baselines=False)
    every = v2vt_rows(answered, videos, whole, seeds=1)
    assert list(rows) == ["system"]
    for name, found in values(rows).items():
        assert found == pytest.approx(values(every)[name], abs=1e-6)
    assert model.asked < whole.asked / 2


def test_order_and_cache_change_nothing(answered, videos, tmp_path):
    model = Colors()
    with EmbeddingCache(tmp_path / "cache.sqlite") as cache:
        first = v2vt_rows(answered, videos, model, cache, seeds=2)
        asked = model.asked
        again = v2vt_rows(answered[::-1], videos, model, cache, seeds=2)
    assert model.asked == asked > 0
    for row in first:
        assert {name: found[::-1] for name, found in values(again, row).items()} == values(first, row)


def test_misses_and_nothing_to_score(clips, videos):
    clip = clips[0]
    nobody = np.zeros_like(annotation_of(clip).selections).tolist()
    only_first = [row if person == 0 else [0] * len(row) for person, row in enumerate(annotation_of(clip).selections)]
    cases = [
        Case(annotation_of(clip), truth_of(clip)),
        Case(annotation_of(clip), None),
        Case(annotation_of(clip), truth_of(clip, frames=())),
        Case(annotation_of(clip), truth_of(clip, text=" ", sentences=())),
        Case(annotation_of(clip, selections=nobody), truth_of(clip)),
        Case(annotation_of(clip, sentences=()), truth_of(clip)),
        Case(annotation_of(clip, selections=only_first), truth_of(clip, frames=None)),
    ]
    rows = v2vt_rows(cases, videos, Colors(), seeds=2)
    system, human = values(rows), values(rows, "human")
    assert np.isnan(system["f_clip"]).tolist() == [False] * 4 + [True, False, False]
    assert [score == 0 for score in system["f_clip"]] == [False, True, True, False, False, False, True]
    assert np.isnan(system["cross_f_clip"]).tolist() == [False] * 4 + [True, True, False]
    assert system["cross_f_clip"][1] == 0 < system["cross_f_clip"][2] < system["cross_f_clip"][0]
    assert [score == 0 for score in system["vt_clipscore"]] == [False, True, True, True, False, False, True]
    assert not np.isnan(system["vt_clipscore"]).any()
    # human: not where nobody, or one alone, selected a frame
    assert np.isnan(human["f_clip"]).tolist() == [False] * 4 + [True, False, True]
    assert np.isnan(values(rows, "random")["vt_clipscore"]).tolist() == [False] * 5 + [True, False]
    assert "3 of 7 videos have no predicted frames: 0" in notes(rows, "f_clip")
    assert "predicted text" not in notes(rows, "f_clip")
    assert "2 of 7 videos have no predicted text: 0" in notes(rows, "cross_f_clip")
    assert "by colors" in notes(rows, "vt_clipscore") and "vt_clip.pth" in notes(rows, "vt_clipscore")
    assert "context" not in notes(rows, "vt_clipscore")
    told = Case(annotation_of(clip), truth_of(clip, text="A red circle moves. " * 9))  # Colors takes 80 characters
    assert "1 predicted texts are longer than the model's context" in notes(
        v2vt_rows([told], videos, Colors(), baselines=False), "vt_clipscore"
    )
    assert "mean over 2 seeds" in notes(rows, "f_clip", "random")
    assert "the reference's own text" in notes(rows, "cross_f_clip", "human")


def test_measures_that_no_prediction_has_the_fields_for(clips, videos):
    clip = clips[0]
    frames = truth_of(clip, text=None, sentences=None)
    assert list(values(v2vt_rows([Case(annotation_of(clip), frames)], videos, Colors(), seeds=1))) == ["f_clip"]
    text = truth_of(clip, frames=None)
    rows = v2vt_rows([Case(annotation_of(clip), text)], videos, Colors(), seeds=1)
    assert values(rows) == {} and list(values(rows, "uniform")) == ["f_clip", "vt_clipscore", "cross_f_clip"]


def test_importance_alone_selects_its_top(clips, videos):
    clip = clips[0]
    chosen = sorted(np.random.default_rng(1).choice(100, 15, replace=False).tolist())
    importance = np.zeros(100)
    importance[chosen] = np.linspace(1, 2, 15)
    sets = [truth_of(clip, frames=tuple(chosen)), truth_of(clip, frames=None, importance=importance)]
    cases = [Case(annotation_of(clip), one) for one in sets]
    found = values(v2vt_rows(cases, videos, Colors(), baselines=False))
    for name, (of_set, of_importance) in found.items():
        assert of_set == pytest.approx(of_importance), name


def test_predicted_moments():
    def moments(**fields):
        return predicted_moments(Prediction("v", **fields), [Second(0.0), Second(1.0), Second(1.5)])

    assert predicted_moments(None, []) == []
    assert moments(num_frames=9, frames=(7, 2)) == [Prompt(2, 9), Prompt(7, 9)]
    assert moments(num_frames=9, text="A man.") == []
    assert moments(num_frames=4, importance=[0.0, 0.2, 0.9, 0.1]) == [Prompt(2, 4)]  # int(0.15 * 4) = 0: one
    assert moments(num_frames=3, frames=(0, 2), clock="samples") == [Second(0.0), Second(1.5)]
    with pytest.raises(ValueError, match="video 'v': a prediction on the clock of the samples must have 3 .*, got 4"):
        moments(num_frames=4, frames=(0, 2), clock="samples")


def test_samples_of_keyshots_are_its_picks(clips, videos):
    clip = clips[0]
    picks = tuple(range(0, clip.total_frames, 15))
    keyshots = Keyshots(n_frames=clip.total_frames, picks=picks, change_points=None,
                        user_summaries=(((0, 20),), ((30, 31), (45, 45))), scores=None, mean_scores=None)  # fmt: skip
    annotation = Annotation(clip.video_id, None, "eccv16", keyshots=keyshots)
    people, moments = samples_of(annotation)
    assert moments == [Frame(pick) for pick in picks]
    assert [np.flatnonzero(row).tolist() for row in people] == [[0, 1], [2, 3]]
    prediction = Prediction(clip.video_id, len(picks), frames=(0, 1), clock="samples")
    rows = v2vt_rows([Case(annotation, prediction)], videos, Colors(), seeds=2)
    frames = Colors().embed_frames(read_frames(videos[clip.video_id], lambda _: np.array(picks[:4])).frames)
    assert values(rows)["f_clip"][0] == pytest.approx((1 + f_clip(frames[2:4], frames[:2])) / 2, abs=1e-6)
    assert list(values(rows)) == ["f_clip"]


def test_videos_without_a_file(answered, videos):
    first = answered[0].annotation.video_id
    one = {first: videos[first]}
    with pytest.raises(ValueError, match=f"1 of 2 videos have no file.*{answered[1].annotation.video_id}"):
        v2vt_rows(answered, one, Colors())


def test_progress_sees_every_case(answered, videos):
    seen = []
    tell = lambda cases: (seen.append(one) or one for one in cases)  # noqa: E731
    v2vt_rows(answered, videos, Colors(), baselines=False, progress=tell)
    assert seen == answered


@pytest.mark.pinned
def test_end_to_end_with_the_shapes_clip(clips, videos, tmp_path):
    """A perfect answer is near what people chose and said; random frames, and another clip's text, are far from it."""
    swapped = [clips[1], clips[0]]
    right = [Case(annotation_of(clip), truth_of(clip)) for clip in clips]
    wrong = [Case(annotation_of(clip), truth_of(clip, text=truth_of(other).text, sentences=truth_of(other).sentences))
             for clip, other in zip(clips, swapped)]  # fmt: skip
    model = load_clip(SHAPES_CLIP, device="cpu")
    with EmbeddingCache(tmp_path / "cache.sqlite") as cache:
        rows = v2vt_rows(right, videos, model, cache, seeds=10)
        mixed = v2vt_rows(wrong, videos, model, cache, baselines=False)
    figures = {row: {measure.name: measure.value for measure in measures} for row, measures in rows.items()}
    assert figures["system"]["f_clip"] > 0.75
    assert figures["system"]["cross_f_clip"] > figures["random"]["cross_f_clip"] + 0.1
    assert figures["system"]["vt_clipscore"] > figures["random"]["vt_clipscore"] + 0.2
    other = {measure.name: measure.value for measure in mixed["system"]}
    assert other["f_clip"] == pytest.approx(figures["system"]["f_clip"])
    assert other["cross_f_clip"] < figures["system"]["cross_f_clip"] - 0.1
    assert other["vt_clipscore"] < figures["system"]["vt_clipscore"] - 0.1

    idle = load_clip(SHAPES_CLIP)
    idle._load = lambda: pytest.fail("the weights were read though everything is in the cache")
    with EmbeddingCache(tmp_path / "cache.sqlite") as cache:
        again = v2vt_rows(right, videos, idle, cache, seeds=10)
    assert {row: values(again, row) for row in again} == {row: values(rows, row) for row in rows}


def test_import_needs_no_model_packages():
    names = ("torch", "transformers", "llava", "open_clip", "av", "h5py", "scipy")
    modules = ["metrics.crossmodal", "groups.case_vectors", "groups.v2vt"]
    modules += [f"models.{name}" for name in ("clip_base", "clip_models", "embeddings", "frames")]
    code = f"import sys\nfor name in {names}: sys.modules[name] = None\n"
    code += "".join(f"import llava_v2xum.evaluate.{name}\n" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
