"""The benchmarks: the released loop and planted answers agree with this project; tables, films and arguments."""

from __future__ import annotations

import json
import random
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import weights

from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.engine import Engine, Job, generate_answers

SCRIPTS = Path(__file__).parents[2] / "scripts" / "bench"
sys.path.insert(0, str(SCRIPTS))

import bench_decode  # noqa: E402
import bench_infer  # noqa: E402
import bench_infer_job  # noqa: E402
import bench_infer_table  # noqa: E402
import bench_video  # noqa: E402
import given_answers  # noqa: E402
from released_loop import released_answer  # noqa: E402

REAL = Path(__file__).parents[3] / "shared" / "data" / "released_model_answers.jsonl"
ANSWERS = [  # VIDEO, TEXT, BOTH
    ("[03, 04, 05, 41, 42].", "A dog runs. It sits.", "A dog runs [03, 04, 05]. It sits [41, 42]."),
    ("[10].", "A man waves.", "A man waves [10]."),
    ("[00, 01, 98].", "Two boys play. They go.", "Two boys play [00, 01]. They go [98]."),
]


@pytest.fixture(scope="module")
def demo():
    from llava_v2xum.model.checkpoint import load_pretrained

    return load_pretrained(bench_infer_job.DEMO, device="cpu", dtype="float32")


def clip_features(encoder, number: int) -> torch.Tensor:
    """Frames of a shapes clip that are drawn and never were a file."""
    from llava_v2xum.shapes import draw_frames, make_clip

    clip = make_clip(21, number)
    indices = np.linspace(0, clip.total_frames - 1, 100).astype(int)
    return encoder(draw_frames(clip, indices))


@pytest.mark.pinned
def test_the_released_loop_gives_this_projects_answers(demo):
    tokenizer, model, encoder = demo
    for number in range(2):
        prompt = build_input_ids(tokenizer, query_for("both"))
        features = clip_features(encoder, number)
        (ours,) = generate_answers(model, tokenizer, [prompt], [features])
        theirs = released_answer(model, tokenizer, prompt, features)
        assert theirs.text == ours.text and theirs.token_ids == ours.token_ids and theirs.finished
        np.testing.assert_allclose(theirs.importance, ours.importance, atol=1e-6)
        assert theirs.passes == len(theirs.token_ids) + 1  # one for each token, the end of sequence included
        assert min(theirs.prefill_seconds, theirs.decode_seconds) > 0


@pytest.fixture(scope="module")
def planted():
    """A planted model with its videos' features, float32."""
    tokenizer = weights.tokenizer()
    _, tower = weights.sources()
    model, _ = given_answers.make_model("tiny", tokenizer, tower, "cpu", torch.float32)
    features = [weights.numbers(100, weights.CHANNELS, name=f"video {number}") for number in range(len(ANSWERS))]
    means = torch.stack([video.mean(dim=0) for video in features])
    given_answers.plant(model, given_answers.GivenAnswers.of(model, tokenizer, means, ANSWERS))
    return tokenizer, model, features


def test_planted_answers_come_out_of_the_released_loop(planted):
    tokenizer, model, features = planted
    for video, texts in zip(features, ANSWERS):
        for task, text in zip(TASKS, texts):
            answer = released_answer(model, tokenizer, build_input_ids(tokenizer, query_for(task)), video)
            assert answer.text == text and answer.finished


class Guesses:
    """Drafts that are right, wrong, or right at first, by chance."""

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers, self.random = answers, random.Random(0)

    def propose(self, answer, limit):
        known = self.random.choice(self.answers)
        draft = known[len(answer) : len(answer) + limit]
        return draft[: self.random.randrange(len(draft) + 1)] + [self.random.randrange(3, 300)], None

    def learn(self, answer):
        pass


@pytest.mark.parametrize("rows", [1, 4])
def test_planted_answers_come_out_of_the_engine(planted, rows):
    tokenizer, model, features = planted
    prompts = tuple(build_input_ids(tokenizer, query_for(task)) for task in TASKS)
    known = [tokenizer(text, add_special_tokens=False).input_ids for texts in ANSWERS for text in texts]
    engine = Engine(model, tokenizer, rows=rows, drafter=Guesses(known))
    jobs = [Job(number, prompts, features[number]) for number in (2, 0, 1, 0)]
    found = [(number, tuple(answer.text for answer in answers)) for number, answers in engine.run(jobs)]
    assert sorted(found) == [(number, ANSWERS[number]) for number in (0, 0, 1, 2)]
    assert 0 < engine.stats.accepted < engine.stats.drafted


def test_planting_refuses_what_it_cannot_plant(planted):
    tokenizer, model, _ = planted
    with pytest.raises(ValueError, match="at most 1024 videos, got 1/3"):
        given_answers.GivenAnswers.of(model, tokenizer, torch.zeros(3, 2), ANSWERS[:1])
    with pytest.raises(ValueError, match="no word of its own"):
        every = [(query_for(task).removeprefix("<video>\n "),) * 3 for task in TASKS]
        given_answers.GivenAnswers.of(model, tokenizer, torch.zeros(3, 2), every)
    with pytest.raises(ValueError, match="heads at least 13 wide, got 12"):
        model.config.hidden_size, hidden = 24, model.config.hidden_size
        try:
            given_answers.plant(model, None)
        finally:
            model.config.hidden_size = hidden


@pytest.mark.skipif(not REAL.exists(), reason="the real answers are not here")
def test_real_answers_are_given_to_every_other_video():
    given, others = bench_infer.real_answers(REAL, 64)
    lines = [json.loads(line)["answer"] for line in REAL.read_text().splitlines()]
    assert len(given) == 64 and not {texts[TASKS.index("both")] for texts in given} & set(others)
    assert 140 < len(others) < 170 and set(others) < set(lines)
    texts = dict(zip(TASKS, given[0]))
    assert texts["both"] == lines[0]
    assert texts["text"] == ("A man is seen pushing a lawn mower around a yard. He stops and begins to cut the grass.")
    assert texts["video"].startswith("[08, 09, 10,") and texts["video"].endswith("55, 56].")


def figures(seconds: float, text: str = "a [01].", importance: float = 0.5) -> dict:
    return {
        "seconds": seconds, "processor_seconds": 2 * seconds, "stages": {"read": 1.0, "decode": seconds / 2},
        "passes": 4.0, "weight_reads": 30, "answers": [[text, [importance]], ["b", None]],
        "peak_bytes": 3e8, "reader_bytes": 1e8, "decoder_bytes": 1000, "bandwidth": 6000.0,
    }  # fmt: skip


def results(**other) -> dict[str, list[bench_infer_table.Result]]:
    args = bench_infer.parse(["--rounds", "2"])
    job = bench_infer_job.Job("released", "demo", ("a.mp4", "b.mp4"), "/tmp")
    drafts = bench_infer_job.Job("drafts", "demo", ("a.mp4", "b.mp4"), "/tmp", batch=8)
    return bench_infer.results_of({job: [figures(4), figures(6)], drafts: [figures(2, **other), figures(3)]}, args)


def test_the_table_and_the_ratios_by_hand():
    made = results()
    table = bench_infer_table.table(made["demo"]).splitlines()
    assert table[0].count("|") == table[1].count("|") == table[2].count("|") == len(bench_infer_table.HEADINGS) + 1
    cells = [cell.strip() for cell in table[3].split("|")[1:-1]]
    assert cells[:6] == ["drafts", "8", "48.0", "2.00 (2.00)", "4.0", "2/2"]  # two videos in 2.5 s; 5 s before
    assert cells[6:] == ["500", "-", "-", "625", "-", "-", "-", "300 + 100", "400 %"]  # 30000 bytes in 1.25 s of 6000
    assert table[2].split("|")[4].strip() == "-"
    assert bench_infer_table.ratios(made) == {"demo": {"drafts 8": 2.0}}
    assert bench_infer_table.check(made, "float32") == []


def test_other_answers_are_told_and_in_float32_an_error():
    made = results(text="another")
    assert "| 1/2 |" in bench_infer_table.table(made["demo"])
    assert bench_infer_table.check(made, "float32") == ["demo, drafts 8: 1 of 2 answers same, importance 0.0e+00"]
    assert bench_infer_table.check(made, "bfloat16") == []
    (wrong,) = bench_infer_table.check(results(importance=0.51), "float32")
    assert "2 of 2 answers same, importance 1.0e-02" in wrong


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--models", "110m"], "need --answers, and --tokenizer with a LLaMA-type"),
        (["--clips", "0"], "must be at least 1"),
        (["--models", "7b", "--device", "cpu", "--answers", "a", "--tokenizer", "t"], "7b needs a GPU"),
    ],
)
def test_arguments_that_cannot_be(arguments, message, capsys):
    with pytest.raises(SystemExit):
        bench_infer.parse(arguments)
    assert message in capsys.readouterr().err


def in_this_process(job: bench_infer_job.Job) -> dict:
    """`run_job` without the cost of a process."""
    measures = {"released": bench_infer_job.measure_released, "means": bench_infer_job.mean_features}
    return json.loads(json.dumps(measures.get(job.what, bench_infer_job.measure_project)(job) or {}))


def test_a_run_prints_its_ratios_last(tmp_path, monkeypatch, capsys):
    tokenizer, _ = weights.sources()
    lines = [json.dumps({"answer": texts[TASKS.index("both")]}) + "\n" for texts in ANSWERS for _ in range(2)]
    (tmp_path / "answers.jsonl").write_text("".join(lines))
    monkeypatch.setattr(bench_infer, "run_job", in_this_process)
    monkeypatch.setattr(bench_infer_job, "CHUNK", 2**16)
    for size in ((160, 120), (120, 160)):
        bench_decode.render(tmp_path / "videos", bench_decode.Film(4, *size))
    options = ["--videos", str(tmp_path / "videos"), "--clips", "2", "--models", "tiny", "--batches", "2"]
    options += ["--ways", "released", "drafts", "three", "all", "--task-batch", "3", "--work", str(tmp_path / "work")]
    options += ["--rounds", "1", "--workers", "0"]
    options += ["--answers", str(tmp_path / "answers.jsonl"), "--tokenizer", str(tokenizer), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["bench_infer.py", *options, "--json", str(tmp_path / "out.json")])
    bench_infer.main()
    ratios = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(ratios) == {"tiny"} and set(ratios["tiny"]) == {"drafts 2", "all 3"}
    told = json.loads((tmp_path / "out.json").read_text())
    drafts = told["figures"]["tiny"]["drafts 2"]
    assert [text for text, _ in drafts["answers"]] == [ANSWERS[number][TASKS.index("both")] for number in (0, 1)]
    assert drafts["passes"] < told["figures"]["tiny"]["released 1"]["passes"]


@pytest.mark.parametrize("kind", [{}, {"varies": True}, {"key_every": 100_000}])
def test_films_are_what_they_are_called(tmp_path, kind):
    import av

    film = bench_decode.Film(21, 160, 120, fps=12, **kind)
    path = bench_decode.render(tmp_path, film)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        stamps = sorted(float(packet.pts * packet.time_base) for packet in packets)
    steps = {round(12 * (after - before)) for before, after in pairwise(stamps)}
    assert steps == ({1, 3} if "varies" in kind else {1})
    keys = sum(packet.is_keyframe for packet in packets)
    assert keys == 1 if "key_every" in kind else keys >= 1
    assert bench_video.measure_file(path, runs=1)["ratio"] > 0


def test_bench_video_prints_its_ratios_last(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(bench_video.FILMS, "short", bench_video.Film(4, 160, 120))
    monkeypatch.setattr(sys, "argv", ["bench_video.py", "--render", str(tmp_path), "--only", "short", "--runs", "1"])
    bench_video.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["short"] > 0 and set(last["threads"]) == {"1", "2", "4"}


def test_other_frames_end_bench_video(tmp_path, monkeypatch):
    path = bench_video.render(tmp_path, bench_video.Film(4, 160, 120))
    monkeypatch.setattr(bench_video, "read_sequentially", lambda path: np.zeros((100, 120, 160, 3), np.uint8))
    with pytest.raises(SystemExit, match="give other frames"):
        bench_video.measure_file(path, runs=1)
