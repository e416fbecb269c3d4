"""Files that are read and are not what they are taken for: refused, or told before any figure."""

import json

import numpy as np
import pytest
from evaluate_world import run
from published import captions, eccv16_video, videoxum, write_eccv16

from llava_v2xum.core.data_sets import plain_name
from llava_v2xum.evaluate.reports.report import format_markdown, format_table
from llava_v2xum.evaluate.reports.scores import read_report
from llava_v2xum.evaluate.reports.side_by_side import Published, side_by_side

pytest.importorskip("h5py")

PLAIN = ["--seeds", 1, "--resamples", 0]
OF_TEXT = ["--no-meteor", "--tokenizer", "plain"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("llava_v2xum.evaluate.reports.curves.draw_figures", lambda *_: [])


def scored(dataset, folder, predictions, annotations, *options):
    """The report of predictions and annotations, paths or what JSON holds (a list of predictions: JSON lines)."""
    for name, content in (("p.json", predictions), ("a.json", annotations)):
        if isinstance(content, (list, dict)):
            (folder / name).write_text(json.dumps(content))
    if isinstance(predictions, list) and "video_id" in predictions[0]:
        predictions = folder / "p.jsonl"
        predictions.write_text("".join(json.dumps(one) + "\n" for one in json.loads((folder / "p.json").read_text())))
    files = [folder / name if isinstance(one, (list, dict)) else one
             for name, one in (("p.json", predictions), ("a.json", annotations))]  # fmt: skip
    status = run(dataset, "--predictions", files[0], "--annotations", files[1], "--out", folder / "report", *options)
    return read_report(folder / "report") if status == 0 else None


def keyshot_file(folder, annotators, names=None, frames=60, **changes):
    """An eccv16 file of three videos, whose annotators selected some frames at random, and scores of its samples."""
    rng = np.random.default_rng(0)
    videos = {}
    for number in range(1, 4):
        name = None if names is None else names[number - 1].encode()
        summary = (rng.random((annotators, frames)) < 0.3).astype(np.float32)
        more = {"gtscore": rng.random(4), "picks": np.arange(0, frames, 15), "features": rng.random((4, 2))}
        videos[f"video_{number}"] = eccv16_video(frames, user_summary=summary, video_name=name, **{**more, **changes})
    scores = {video_id: rng.random(4).tolist() for video_id in videos}
    return scores, write_eccv16(folder / "a.h5", videos)


@pytest.mark.parametrize(
    "dataset, annotators, names, got",
    [
        ("tvsum", 16, None, "(20 annotators a video, 50 videos), got those of summe: 3 videos with 16 annotators"),
        ("tvsum", 20, ["Air Force One", "Jumps", "Scuba"], "got those of summe: 3 videos with 20 annotators ('Air For"),
        ("summe", 20, None, "(15 to 18 annotators a video, 25 videos), got those of tvsum: 3 videos with 20 "),
    ],
)
def test_the_other_keyshot_set_is_refused(tmp_path, capsys, dataset, annotators, names, got):
    scores, source = keyshot_file(tmp_path, annotators, names)
    other = {"tvsum": "summe", "summe": "tvsum"}[dataset]
    report = scored(other, tmp_path, scores, source, *PLAIN)
    assert report.doubts == () and "(eccv16), 3 of " in report.facts["annotations"]
    assert scored(dataset, tmp_path, scores, source, *PLAIN) is None
    printed = capsys.readouterr().err
    assert f"a.h5: expected annotations of {dataset} (" in printed and got in printed


def test_annotations_of_no_known_set_are_told_first_everywhere(tmp_path, capsys):
    scores, source = keyshot_file(tmp_path, 3)
    report = scored("tvsum", tmp_path, scores, source, *PLAIN)
    [doubt] = report.doubts
    assert doubt.startswith("the annotations are not tvsum as published (20 annotators a video, 50 videos): 3 videos")
    for shown in (format_table(report), format_markdown(report), side_by_side([report], Published(()))):
        assert f"doubtful: {doubt}" in " ".join(shown.replace("**", "").split())
    lines = format_table(report).splitlines()
    assert lines[0].startswith("  doubtful: ") and capsys.readouterr().out.splitlines()[0] == lines[0]
    assert run("compare", "tvsum", *[tmp_path / "p.json"] * 2, "--annotations", source, "--resamples", 5) == 0
    assert doubt in " ".join(capsys.readouterr().out.split())


def test_change_points_that_end_early_are_told(tmp_path):
    points, lengths = np.array([[0, 19], [20, 39]]), np.array([20, 20])
    scores, source = keyshot_file(tmp_path, 20, change_points=points, n_frame_per_seg=lengths)
    [doubt] = scored("tvsum", tmp_path, scores, source, *PLAIN).doubts
    assert "of 3 of 3 videos end before their last frame" in doubt and "'video_1' (frame 39 of 0..59)" in doubt


def test_the_budget_is_of_the_frames_or_of_the_segments(tmp_path):
    """Of 60 frames 15 % are 9, of the 40 with segments 6: a segment of 8 fits the first alone."""
    points = np.array([[0, 7], [8, 14], [15, 39]])
    scores, source = keyshot_file(tmp_path, 20, change_points=points, n_frame_per_seg=np.array([8, 7, 25]))
    scores = {key: [1.0, 0.5, 0.1, 0.0] for key in scores}
    by_frames = scored("tvsum", tmp_path, scores, source, *PLAIN)
    by_segments = scored("tvsum", tmp_path, scores, source, *PLAIN, "--budget", "segments")
    assert (by_frames.facts["budget"], by_segments.facts["budget"]) == ("frames", "segments")
    assert by_segments.score("system", "keyshot_f1_avg").value == 0 < by_frames.score("system", "keyshot_f1_avg").value
    assert by_segments.score("system", "kendall") == by_frames.score("system", "kendall")


def test_one_score_a_frame_of_the_video_is_taken_at_the_picks(tmp_path, capsys):
    scores, source = keyshot_file(tmp_path, 20)
    at_picks = scored("tvsum", tmp_path, scores, source, *PLAIN)
    rng = np.random.default_rng(1)
    every = {video_id: rng.random(60) for video_id in scores}
    for video_id, row in every.items():
        row[::15] = scores[video_id]
    every = {video_id: row.tolist() for video_id, row in every.items()}
    capsys.readouterr()
    assert scored("tvsum", tmp_path, every, source, *PLAIN) is None
    assert "got 60; that is the number of video frames: say the clock video-frames" in capsys.readouterr().err
    assert scored("tvsum", tmp_path, every, source, *PLAIN, "--clock", "video-frames").rows == at_picks.rows
    assert scored("tvsum", tmp_path, scores, source, *PLAIN, "--clock", "video-frames") is None
    assert "got 4; that is the number of samples: say the clock samples" in capsys.readouterr().err
    assert scored("videoxum", tmp_path, {"a": [0.5] * 20}, [video("a", 20)], "--clock", "video-frames") is None
    assert "the clock video-frames is that of TVSum and SumMe" in capsys.readouterr().err


def test_the_columns_of_the_script_see_its_512_samples(tmp_path):
    """What lies behind them changes the other columns alone."""
    rng = np.random.default_rng(0)
    row = rng.random(600)
    report = scored("videoxum", tmp_path, {"a": row.tolist()}, [video("a", 600)], *PLAIN)
    chosen = row[:512] >= row[511 - 76]  # int(0.15 * 512) from the end of the sequence as it stands
    truth = np.arange(512) < 300
    expected = 2 * (chosen & truth).sum() / (chosen.sum() + truth.sum())
    assert report.score("system", "f1_videoxum_script").value == pytest.approx(expected)
    assert "of the first 512 samples" in report.score("system", "f1_videoxum_script").notes[0]


def video(video_id, seconds, duration=None):
    """A VideoXum entry of ten annotators at 1 FPS, of which the first half is selected."""
    marks = [1] * (seconds // 2) + [0] * (seconds - seconds // 2)
    spans = [[[0, 1]] * 10] * 2
    changes = {"duration": duration or seconds, "sampled_frames": seconds, "vsum": spans, "vsum_onehot": [marks] * 10}
    return videoxum(video_id, timestamps=[[0, 1], [1, 2]], **changes)


def test_a_duration_in_milliseconds_is_told_by_its_video(tmp_path):
    predictions = [{"video_id": one, "num_frames": 100, "frames": [5]} for one in "ab"]
    assert scored("videoxum", tmp_path, predictions, [video("a", 20, 20.9), video("b", 30)], *PLAIN).doubts == ()
    [doubt] = scored("videoxum", tmp_path, predictions, [video("a", 20), video("b", 30, 30000)], *PLAIN).doubts
    assert doubt.startswith("1 annotated videos are longer than their samples")
    assert "'b' (30000 s, 30 samples)" in doubt


@pytest.mark.parametrize(
    "answer", ["0.0 - 10.5 seconds, a man runs.", "A man runs, from 05 to 10.", '[{"timestamp": [0.0, 10.5]}]']
)
def test_answers_without_citations_are_told_with_the_reader_of_times(tmp_path, answer):
    annotations = [video("a", 20), video("b", 30), video("c", 30)]
    predictions = [{"video_id": one, "answer": answer} for one in "abc"]
    [doubt] = scored("videoxum", tmp_path, predictions, annotations, *PLAIN, *OF_TEXT).doubts
    assert doubt.startswith("3 of 3 answers cite no frame") and "3 tell times in their text instead" in doubt
    assert "--prediction-format vtimellm and timechat read" in doubt
    predictions[0]["answer"] = predictions[1]["answer"] = "A man runs [05, 06]."
    assert scored("videoxum", tmp_path, predictions, annotations, *PLAIN, *OF_TEXT).doubts == ()
    predictions[0]["answer"] = predictions[1]["answer"] = "A man runs."
    [doubt] = scored("videoxum", tmp_path, predictions, annotations, *PLAIN, *OF_TEXT).doubts
    assert doubt.startswith("3 of 3 answers cite no frame") and "1 tell times in their text" in doubt


def test_a_text_run_is_in_no_doubt_for_want_of_citations(tmp_path):
    predictions = [{"video_id": one, "answer": "A man runs.", "task": "text"} for one in "ab"]
    assert scored("videoxum", tmp_path, predictions, [video("a", 20), video("b", 30)], *PLAIN, *OF_TEXT).doubts == ()


def test_sentences_in_milliseconds_are_told_by_the_worst(tmp_path):
    annotations = {one: captions(duration=10.0) for one in "ab"}

    def results(end):
        return {"results": {one: [{"sentence": "A man runs.", "timestamp": [0, end]}] for one in "ab"}}

    more = [*PLAIN, *OF_TEXT, "--dense"]
    assert scored("activitynet-captions", tmp_path, results(10.4), annotations, *more).doubts == ()
    [doubt] = scored("activitynet-captions", tmp_path, results(4000), annotations, *more).doubts
    assert doubt.startswith("2 of 2 predicted sentences with times end behind their videos")
    assert "'a' at 4000 s of 10 s" in doubt


def test_brackets_of_another_system_are_its_words(tmp_path):
    """Those of an answer in our own forms are citations."""
    annotations = [video("a", 20), video("b", 30)]
    own = scored("videoxum", tmp_path, [{"video_id": one, "answer": "A man [7]."} for one in "ab"], annotations,
                 *PLAIN, *OF_TEXT)  # fmt: skip
    assert own.doubts == ()
    foreign = [{"image_id": one, "caption": "A man [7]."} for one in "ab"]
    report = scored("videoxum", tmp_path, foreign, annotations, *PLAIN, *OF_TEXT)
    [doubt] = report.doubts
    assert doubt.startswith("2 predicted texts hold numbers in brackets, such as [7] of 'a'")
    assert own.score("system", "bleu_1").value == pytest.approx(np.exp(1 - 5 / 2))  # two words of five, both right
    assert report.score("system", "bleu_1").value == pytest.approx(2 / 3 * np.exp(1 - 5 / 3))  # and one wrong


def test_a_reversed_segment_costs_its_segment_and_not_the_video(tmp_path):
    annotations = {one: captions() for one in "ab"}
    annotations["a"]["timestamps"] = [[4, 0], [3.5, 10.0]]
    results = {"results": {one: [{"sentence": "A man runs.", "timestamp": [0, 4]}] for one in "ab"}}
    report = scored("activitynet-captions", tmp_path, results, annotations, *PLAIN, *OF_TEXT, "--dense")
    assert report.video_ids == ("a", "b")
    said = "1 annotated videos are scored without some of their spans, such as 'a': timestamps[0] ends before it starts"
    assert any(note.startswith(said) for note in report.notes)
    spans = [[[1, 0]] + [[0, 1]] * 9] * 2
    found = scored("videoxum", tmp_path, [{"video_id": "a", "num_frames": 10, "frames": [1]}],
                   [{**video("a", 20), "vsum": spans}], *PLAIN)  # fmt: skip
    assert found.video_ids == ("a",) and "vsum[0][0] ends before it starts: [1, 0]" in " ".join(found.notes)


def test_a_missing_video_is_counted_once(tmp_path):
    report = scored("videoxum", tmp_path, [{"image_id": "a", "caption": "A man."}], [video("a", 20), video("b", 30)],
                    *PLAIN, *OF_TEXT)  # fmt: skip
    notes = [*report.notes, *(note for score in report.rows["system"].values() for note in score.notes)]
    assert [note for note in notes if "misses" in note or "score 0" in note] == [
        "annotated videos without a prediction: 1 ('b'); they are scored as misses"
    ]


def test_items_that_cannot_be_read_are_told_first(tmp_path):
    broken = {**video("b", 30), "vsum_onehot": [[2] * 30] * 10}
    predictions = [{"video_id": one, "num_frames": 10, "frames": [1]} for one in "ab"]
    [doubt] = scored("videoxum", tmp_path, predictions, [video("a", 20), broken], *PLAIN).doubts
    assert doubt.startswith("1 items of a.json cannot be read, and their videos are not scored, as item 1 ('b')")


@pytest.mark.parametrize("name", ["Air Force One", "Air_Force_One", "Air_Force_One.mp4", " Air  Force_One.AVI"])
def test_a_plain_name_has_one_way_of_writing(name):
    assert plain_name(name) == "Air_Force_One"
    assert plain_name("v_QOlSCBRmfWY") == "QOlSCBRmfWY" and plain_name("a.b") == "a.b"
