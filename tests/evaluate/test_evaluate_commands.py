"""The evaluators' commands from files to reports, on the rendered world's annotations without its videos."""

import csv
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from evaluate_world import CLIPS, make_world, run

from llava_v2xum.evaluate.__main__ import main
from llava_v2xum.evaluate.metrics.java import has_java
from llava_v2xum.evaluate.reports.scores import read_report

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def score(world, out, name="good", *more):
    files = ["--predictions", world / f"{name}.jsonl", "--annotations", world / "videoxum.json", "--out", out]
    assert run("videoxum", *files, "--seeds", 5, "--resamples", 50, "--no-meteor", "--tokenizer", "plain", *more) == 0
    return read_report(out)


def test_a_report_has_every_row_and_file(world, tmp_path, capsys):
    report = score(world, tmp_path / "report")
    assert set(report.rows) == {"system", "random", "uniform", "human"}
    assert report.score("system", "f1").value > report.score("random", "f1").value + 0.3
    assert report.score("system", "bleu_4").value == pytest.approx(1)
    low, high = report.score("system", "f1").low, report.score("system", "f1").high
    assert low < report.score("system", "f1").value < high
    assert report.absent["f_clip"] == "needs --clip and --videos"
    assert report.absent["meteor"] == "left out, as --no-meteor asks"
    names = {"report.json", "report.md", "per_video.csv", "scores.png", "best_and_worst.png"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == names
    with open(tmp_path / "report" / "per_video.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == CLIPS
    mean = sum(float(row["f1"]) for row in rows) / CLIPS
    assert mean == pytest.approx(report.score("system", "f1").value)
    printed = capsys.readouterr()
    assert "Spearman" in printed.out and "good" in printed.out
    assert "report.json" in printed.err


def test_a_missing_video_is_a_miss_unless_it_is_skipped(world, tmp_path):
    missed = score(world, tmp_path / "missed", "some")
    skipped = score(world, tmp_path / "skipped", "some", "--skip-missing")
    assert missed.facts["missing"] == 3 and len(missed.video_ids) == CLIPS
    assert len(skipped.video_ids) == 9 and skipped.facts["skip missing"] is True
    assert "scored as misses" in " ".join(missed.notes)
    assert "left out, as --skip-missing asks" in " ".join(skipped.notes)
    for key in ("f1", "spearman", "rouge_l"):
        expected = skipped.score("system", key).value * 9 / CLIPS
        assert missed.score("system", key).value == pytest.approx(expected), key


def test_samples_that_are_not_one_a_second_are_told(world, tmp_path):
    entries = json.loads((world / "videoxum.json").read_text())
    entries[0]["vsum_onehot"] = [[value for value in row for _ in range(2)] for row in entries[0]["vsum_onehot"]]
    entries[0]["sampled_frames"] *= 2
    (tmp_path / "videoxum.json").write_text(json.dumps(entries))
    files = ["--predictions", world / "good.jsonl", "--annotations", tmp_path / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files, "--seeds", 1, "--resamples", 0, "--no-meteor", "--tokenizer", "plain") == 0
    assert any("1 annotated videos have samples more than a second" in one for one in read_report(tmp_path).doubts)


def test_files_of_several_runs_are_one_system(world, tmp_path):
    """Frames of one run and the text of another."""
    records = [json.loads(line) for line in (world / "good.jsonl").read_text().splitlines()]
    for name, keys in {"video": ("frames", "importance"), "text": ("text", "sentences")}.items():
        kept = [{key: record[key] for key in ("video_id", "num_frames", *keys)} for record in records]
        for record in kept:
            record["sentences"] = [{"text": one["text"]} for one in record.get("sentences", [])] or None
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    files = ["--predictions", tmp_path / "video.jsonl", tmp_path / "text.jsonl"]
    more = ["--annotations", world / "videoxum.json", "--resamples", 0, "--no-meteor", "--tokenizer", "plain"]
    assert run("videoxum", *files, *more, "--out", tmp_path / "both") == 0
    both, whole = read_report(tmp_path / "both"), score(world, tmp_path / "whole")
    for key in ("f1", "kendall", "bleu_4"):
        assert both.score("system", key).value == whole.score("system", key).value
    assert math.isnan(both.score("system", "f1").low)


def test_two_systems_are_compared(world, tmp_path, capsys):
    more = ["--annotations", world / "videoxum.json", "--no-meteor", "--tokenizer", "plain"]
    arguments = ["--permutations", 200, "--resamples", 100, "--out", tmp_path]
    assert run("compare", "videoxum", world / "good.jsonl", world / "late.jsonl", *more, *arguments) == 0
    made = json.loads((tmp_path / "compare.json").read_text())
    pairs = {pair["name"]: pair for pair in made["measures"]}
    assert pairs["f1"]["difference"] > 0 and pairs["f1"]["p"] < 0.05
    assert pairs["bleu_4"]["difference"] == 0 and pairs["bleu_4"]["p"] == 1
    assert "good" in capsys.readouterr().out
    assert run("compare", "videoxum", world / "good.jsonl", world / "some.jsonl", *more, *arguments) == 0
    note = "some: annotated videos without a prediction: 3 ("
    assert note in (tmp_path / "compare.md").read_text(), "what is printed is kept too"
    assert note in " ".join(capsys.readouterr().out.split())


def test_skipping_compares_the_videos_of_both_alone(world, tmp_path, capsys):
    lines = (world / "late.jsonl").read_text().splitlines(True)
    (tmp_path / "last.jsonl").write_text("".join(lines[7:]))
    (tmp_path / "end.jsonl").write_text("".join(lines[9:]))
    more = ["--annotations", world / "videoxum.json", "--no-meteor", "--tokenizer", "plain", "--skip-missing"]
    more += ["--permutations", 50, "--resamples", 20, "--out", tmp_path]
    assert run("compare", "videoxum", world / "some.jsonl", tmp_path / "last.jsonl", *more) == 0
    made = json.loads((tmp_path / "compare.json").read_text())
    assert {pair["videos"] for pair in made["measures"]} == {2}
    notes = " ".join(capsys.readouterr().out.split())
    assert "annotated videos without a prediction: 3 (" in notes
    assert "annotated videos without a prediction: 7 (" in notes
    assert "have no annotation" not in notes
    assert run("compare", "videoxum", world / "some.jsonl", tmp_path / "end.jsonl", *more) == 1
    assert "predictions of no video in common" in capsys.readouterr().err


def test_reports_stand_side_by_side_under_published_rows(world, tmp_path, capsys):
    for name in ("good", "late"):
        score(world, tmp_path / name, name)
    capsys.readouterr()
    assert run("tables", tmp_path / "good", tmp_path / "late", "--out", tmp_path / "tables.md") == 0
    printed = capsys.readouterr().out
    for text in ("good", "late", "VTSUM-BLIP + TT + CA"):
        assert text in printed and text in (tmp_path / "tables.md").read_text()


@pytest.mark.parametrize("form, name", [("coco-captions", "made.json"), ("scores-json", "scores.json")])
def test_what_is_exported_can_be_scored(world, tmp_path, form, name, capsys):
    assert run("export", form, world / "good.jsonl", "--out", tmp_path / name) == 0
    assert f"{CLIPS} videos written" in capsys.readouterr().out
    clock = ["--clock", "frames"] if form == "scores-json" else []
    files = ["--predictions", tmp_path / name, "--annotations", world / "videoxum.json", "--out", tmp_path / "report"]
    more = ["--resamples", 0, "--no-meteor", "--tokenizer", "plain", *clock]
    assert run("videoxum", *files, *more) == 0
    again, whole = read_report(tmp_path / "report"), score(world, tmp_path / "whole")
    key = "bleu_4" if form == "coco-captions" else "spearman"
    assert again.score("system", key).value == whole.score("system", key).value


def write_tvsum(folder, rng, videos=4):
    """The eccv16 file, ydata-tvsum50-anno.tsv of the same videos, and predictions; returns the annotators' scores."""
    people = {}
    with h5py.File(folder / "eccv16_dataset_tvsum_google_pool5.h5", "w") as file:
        for number in range(1, videos + 1):
            frames, picks = 300, np.arange(0, 300, 15)
            starts = np.array([0, 20, 45, 60, 90, 120, 130, 165, 200, 225, 240, 280])
            points = np.stack([starts, np.append(starts[1:], frames) - 1], axis=1)
            video = file.create_group(f"video_{number}")
            video["features"] = rng.normal(size=(20, 8))
            video["gtscore"] = rng.random(20)
            video["user_summary"] = (rng.random((5, frames)) < 0.2).astype(np.float32)
            video["change_points"], video["n_frame_per_seg"] = points, points[:, 1] - points[:, 0] + 1
            video["n_frames"], video["picks"], video["n_steps"] = frames, picks, 20
            video["gtsummary"] = np.zeros(20)
            people[f"video_{number}"] = rng.integers(1, 6, (5, frames))
            video["gtscore"][:] = people[f"video_{number}"][:, picks].mean(axis=0)
    lines = [f"id_{key}\tVT\t{','.join(map(str, row))}\n" for key, rows in people.items() for row in rows]
    (folder / "ydata-tvsum50-anno.tsv").write_text("".join(lines))
    scores = {f"video_{number}": rng.random(20).tolist() for number in range(1, videos + 1)}
    (folder / "scores.json").write_text(json.dumps(scores))
    return people, scores


def test_tvsum_from_the_published_file(tmp_path, capsys):
    _, scores = write_tvsum(tmp_path, np.random.default_rng(0))
    source = tmp_path / "eccv16_dataset_tvsum_google_pool5.h5"
    files = ["--predictions", tmp_path / "scores.json", "--annotations", source, "--out", tmp_path / "report"]
    assert run("tvsum", *files, "--seeds", 5, "--resamples", 20) == 0
    report = read_report(tmp_path / "report")
    assert {"keyshot_f1_avg", "keyshot_f1_max", "kendall_per_annotator", "spearman_summary"} <= set(report.keys)
    assert set(report.rows) == {"system", "random", "uniform", "human"}
    assert 0 < report.score("system", "keyshot_f1_avg").value < report.score("system", "keyshot_f1_max").value <= 1
    capsys.readouterr()
    scores["video_2"] = scores["video_2"][:7]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert run("tvsum", *files) == 1
    assert "video 'video_2'" in capsys.readouterr().err


def test_tvsum_s_correlations_are_with_everybodys_importance(tmp_path, capsys):
    """Of two published files one table: keyshots of the one, importance of the other (scipy: Otani et al.'s way)."""
    from scipy.stats import kendalltau, spearmanr

    people, scores = write_tvsum(tmp_path, np.random.default_rng(1))
    source, importance = tmp_path / "eccv16_dataset_tvsum_google_pool5.h5", tmp_path / "ydata-tvsum50-anno.tsv"
    files = ["--predictions", tmp_path / "scores.json", "--annotations", source, "--seeds", 2, "--resamples", 0]
    assert run("tvsum", *files, "--out", tmp_path / "alone") == 0
    assert run("tvsum", *files, "--importance", importance, "--out", tmp_path / "both") == 0
    alone, both = read_report(tmp_path / "alone"), read_report(tmp_path / "both")
    for key, correlate in (("kendall_per_annotator", kendalltau), ("spearman_per_annotator", spearmanr)):
        of_videos = [
            np.mean([correlate(scores[key], row[::15])[0] for row in rows]) for key, rows in people.items()
        ]
        assert both.per_video[key] == pytest.approx(of_videos)
        assert alone.score("system", key).notes and not both.score("system", key).notes
    assert both.facts["importance"] == importance.name
    for key in ("keyshot_f1_avg", "kendall_summary"):
        assert both.per_video[key] == alone.per_video[key]
    capsys.readouterr()
    named = {f"id_{key}": row for key, row in scores.items()}
    (tmp_path / "scores.json").write_text(json.dumps(named))
    assert run("tvsum", *files, "--importance", importance, "--out", tmp_path / "named") == 0
    assert read_report(tmp_path / "named").per_video == both.per_video
    named = ["--predictions", tmp_path / "scores.json", "--annotations", importance, "--resamples", 0, "--seeds", 2]
    assert run("tvsum", *named, "--out", tmp_path / "importance") == 0
    absent = read_report(tmp_path / "importance").absent["keyshot_f1_avg"]
    assert absent == "needs the annotators' summaries and change points, which no annotation has"
    lines = importance.read_text().splitlines(keepends=True)
    for wrong, message in (
        (lines[:15], "has the videos video_1 to video_3, got 'video_4'"),
        ([*lines[:5], *("id_b\tVT\t1,2\n" for _ in range(5)), *lines[10:]], "which must be the same video"),
        ([*lines[5:10], *lines[:5], *lines[10:]], "the importance of its video 1 is not that of 'video_1'"),
        ([line for place, line in enumerate(lines) if place != 19], "video 'video_4': user_summaries and scores"),
        ([lines[0][:-2] + "x\n", *lines[1:]], "every video must be read, because they go by their order"),
    ):
        importance.write_text("".join(wrong))
        assert run("tvsum", *files, "--importance", importance, "--out", tmp_path / "wrong") == 1
        assert message in (said := capsys.readouterr().err) and importance.name in said


def test_everything_but_clip_works_without_torch_and_llava(world, tmp_path):
    blocked = ("torch", "torchvision", "transformers", "llava", "open_clip", "peft", "accelerate", "av")
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({blocked!r}))",  # None: importing it is an ImportError
        "import llava_v2xum.evaluate",
        "from llava_v2xum.evaluate.__main__ import main",
        "sys.exit(main(sys.argv[1:]))",
    ]
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    more = ["--seeds", "3", "--resamples", "20", "--tokenizer", "plain", "--no-meteor"]
    command = [sys.executable, "-c", "\n".join(lines), "videoxum", *map(str, files), *more]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stderr
    assert read_report(tmp_path).score("system", "f1").value > 0


def test_importing_the_metrics_loads_nothing_heavy():
    heavy = ("torch", "transformers", "llava", "scipy", "h5py", "pycocoevalcap", "ruptures", "matplotlib", "pandas")
    code = (
        "import sys, llava_v2xum.evaluate, llava_v2xum.evaluate.metrics.keyframes, "
        "llava_v2xum.evaluate.metrics.crossmodal, "
        f"llava_v2xum.evaluate.metrics.captions; print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not has_java(), reason="METEOR and COCO's tokenizer need Java")
def test_with_java_the_report_has_meteor(world, tmp_path, quick_meteor):
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files, "--seeds", 2, "--resamples", 10) == 0
    report = read_report(tmp_path)
    assert report.score("system", "meteor").value > 0.5
    assert any("PTB" in note for note in report.notes)


@pytest.mark.parametrize("command", ["videoxum", "tvsum", "shapes", "compare", "tables", "export", "quality"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "python -m llava_v2xum.evaluate" in capsys.readouterr().out
