"""The data card says what the set is like: its figures, counts and costs, beside the paper's."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from curate_world import results_of, results_of_clip
from PIL import Image

from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.curate.card.card import CardFacts, row_of, write_card
from llava_v2xum.curate.card.facts import PAPER, QUANTITIES, count_tokens
from llava_v2xum.curate.card.plots import MOST_BINS, bin_edges, draw_figure2
from llava_v2xum.curate.card.quality import quality_before_after
from llava_v2xum.curate.card.text import card_text, plain
from llava_v2xum.curate.data_set.entries import entries_of, write_entries
from llava_v2xum.curate.options import parse_arguments
from llava_v2xum.curate.stages import select
from llava_v2xum.curate.stages.registry import models_of, options_of, prompts_of, stages_of
from llava_v2xum.shapes import make_clip

LIKE = ({"frame": 6, "like": 5, "score": 0.97},)
COST = {"calls": 3, "prompt_tokens": 4100, "completion_tokens": 250, "seconds": 7.5, "videos": 3}


def rows() -> tuple:
    first = results_of([5, 11], ["A hand holds a box.", "It's turned."], 50.0, LIKE)
    second = results_of([0, 100, 101, 150], ["A.", "B.", "C.", "D."], 200.4, refined=False)
    third = results_of([3], ["Ten-year-old kids run!"], 40.0)
    return row_of("a", first, "train"), row_of("b", second, "train"), row_of("c", third, "test")


def facts(**changes) -> CardFacts:
    made = CardFacts(
        rows(),
        {"select": {"too short": 2, "duplicate": 4}, "refine": {"text": 1}},
        failed=1,
        models={"caption": "llava-1.5|7b", "extract": "gpt_4*"},
        prompts={"caption": "0123456789abcdef"},
        options={"min_duration": 40.0, "note": "```\n# heading"},
        costs={"caption": COST},
    )
    return dataclasses.replace(made, **changes)


def test_a_row_counts_what_is_written():
    first, second, third = rows()
    assert dataclasses.astuple(first) == ("a", "train", 50.0, 50, 2, 1, 9, 2, True)
    assert dataclasses.astuple(second) == ("b", "train", 200.4, 200, 4, 0, 8, 3, False)  # 100 and 101 are index 50
    assert third.text_tokens == 4 and third.compression == 1 / 40


@pytest.mark.parametrize(
    "text, count",
    [("", 0), ("A man runs.", 4), ("It's a well-kept dog's bowl, isn't it?", 9), ("(3.5)", 5), ("…", 1), ("日本", 1)],
)
def test_tokens_are_words_and_punctuation_marks(text, count):
    assert count_tokens(text) == count


def test_figures_are_those_of_numpy():
    clips = [row_of(f"v{index}", results_of_clip(make_clip(5, index)), "train") for index in range(31)]
    figures = facts(rows=tuple(clips)).figures()
    assert figures.keys() == PAPER.keys() == QUANTITIES.keys()
    for name, value in QUANTITIES.items():
        values = [value(row) for row in clips]
        expected = [np.mean(values), np.median(values), np.min(values), np.max(values)]
        np.testing.assert_allclose(list(figures[name].values()), expected, rtol=1e-12)
    frames, samples = sum(row.key_frames for row in clips), sum(row.sampled_frames for row in clips)
    assert facts(rows=tuple(clips)).compression_of_means() == frames / samples


def test_the_papers_ratio_is_that_of_its_means():
    assert round(PAPER["key_frames"] / PAPER["duration_seconds"], 4) == PAPER["compression"]


def test_card_json_has_the_facts(tmp_path):
    write_card(tmp_path, facts())
    record = json.loads((tmp_path / "card.json").read_text("utf-8"))
    assert record["videos"] == 3 and record["splits"] == {"train": 2, "val": 0, "test": 1}
    assert (record["key_frames"], record["dropped_captions"], record["unrefined_videos"]) == (7, 1, 1)
    assert record["key_frames_that_share_an_index"] == 1
    assert record["figures"]["key_frames"] == {"mean": 7 / 3, "median": 2.0, "min": 1.0, "max": 4.0}
    assert record["compression_of_means"] == 7 / 290
    assert record["rejected"]["select"] == {"too short": 2, "duplicate": 4} and record["failed"] == 1
    assert record["costs"] == {"caption": COST} and record["quality"] is None
    assert record["options"]["note"] == "```\n# heading"


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose heading begins so."""
    lines = text.partition(f"| {heading}")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_card_md_says_the_same_to_people():
    text = card_text(facts())
    assert table(text, "split") == [["train", "2"], ["val", "0"], ["test", "1"]]
    assert table(text, "of a video") == [
        ["source duration, s", "96.8", "50.0", "40.0", "200.4", "183.0"],
        ["text summary, tokens", "7.0", "8.0", "4.0", "9.0", "239.0"],
        ["video summary, key frames", "2.3", "2.0", "1.0", "4.0", "30.0"],
        ["compression ratio", "2.83%", "2.50%", "2.00%", "4.00%", ""],
        ["compression ratio of the means", "2.41%", "", "", "", "16.39%"],
    ]
    assert table(text, "stage | why") == [
        ["select", "duplicate", "4"], ["select", "too short", "2"], ["refine", "text", "1"],
    ]  # fmt: skip
    assert table(text, "stage | videos") == [["caption", "3", "3", "4,100", "250", "7.5", "1,440"]]
    at_once = card_text(facts(costs={"refine": {**COST, "seconds": 0.001}}))
    assert table(at_once, "stage | videos")[0][-2:] == ["0.0", "-"]  # no rate of what took no time
    assert "each: 3; fallen out: 7; left for another run, as they could not be worked on: 1." in text
    assert "on the index of an earlier one at N = 100: 1 of 7 (14.29%)." in text
    assert "not refined: 1." in text and "taken out, being like an earlier one: 1." in text and "Not measured." in text


def test_the_order_in_which_videos_fell_out_does_not_matter(tmp_path):
    order = {"write": {"id": 1}, "refine": {"b": 1, "a": 1, "c": 2}, "select": {"x": 1}, "mine": {"y": 1}}
    text = card_text(facts(rejected=order))
    assert [row[:2] for row in table(text, "stage | why")] == [
        ["select", "x"], ["refine", "c"], ["refine", "a"], ["refine", "b"], ["write", "id"], ["mine", "y"],
    ]  # fmt: skip
    other = {stage: dict(reversed(kinds.items())) for stage, kinds in reversed(order.items())}
    assert card_text(facts(rejected=other)) == text
    write_card(tmp_path / "one", facts(rejected=order))
    write_card(tmp_path / "two", facts(rejected=other))
    assert (tmp_path / "one" / "card.json").read_bytes() == (tmp_path / "two" / "card.json").read_bytes()


def test_what_others_named_is_shown_as_it_stands():
    text = card_text(facts(name="A | <b>\n# set", rejected={"s": {"<img src=x>|`": 1}}))
    assert table(text, "for") == [["caption", r"llava-1.5\|7b"], ["extract", r"gpt\_4\*"]]
    assert "<b>" not in text.partition("---\n\n")[2] and "<img" not in text
    assert r"&lt;img src=x&gt;\|\`" in text and "\n# A \\| &lt;b&gt; \\# set\n" in text
    assert '"note": "```\\n# heading"' in text  # on a line of its own, it would end the block
    assert plain("a\nb  c") == "a b c"


def test_a_card_names_every_model_and_no_place_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(select, "AestheticScorer", lambda options: None)  # there is no head in the file
    (tmp_path / "my-llava").mkdir()
    (tmp_path / "head.pth").touch()
    given = ["videos", "--out", "o", "--captioner", str(tmp_path / "my-llava"), "--bertscore-model", "roberta-large"]
    args = parse_arguments(given)
    stages = stages_of(args, Budget())
    told = models_of(stages)
    assert told == {"caption": "my-llava", "extract": "similarity of words", "filter": "roberta-large"}
    assert list(prompts_of(stages)) == ["caption"] and "aesthetic_threshold" not in options_of(args, stages)
    given += ["--aesthetic-predictor", str(tmp_path / "head.pth"), "--endpoint", "http://here:1/v1", "--model", "m/n"]
    args = parse_arguments([*given, "--bertscore-threshold", "none", "--extract-encoder", str(tmp_path)])
    stages = stages_of(args, Budget())
    assert models_of(stages) == {
        "select": "head.pth on ViT-L-14/openai", "caption": "my-llava", "extract": "m/n", "refine": "m/n",
    }  # fmt: skip
    assert list(prompts_of(stages)) == ["caption", "extract", "refine"]
    options = options_of(args, stages)
    assert options["aesthetic_threshold"] == 4 and options["context_tokens"] == 8192
    assert "here" not in json.dumps(options) and str(tmp_path) not in json.dumps(options)


def test_the_head_is_yaml_with_the_splits_that_are_there():
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load(card_text(facts(name='a: "b" #c')).split("---\n")[1])
    assert head["pretty_name"] == 'a: "b" #c' and head["size_categories"] == ["n<1K"]
    assert head["configs"][0]["data_files"] == [
        {"split": "train", "path": "train.json"},
        {"split": "test", "path": "test.json"},
    ]
    meta = head["dataset_info"]["features"][1]["struct"]
    assert [one["name"] for one in head["dataset_info"]["features"]] == ["id", "meta", "conversations", "vsum_onehot"]
    assert meta[-1] == {"name": "token", "dtype": "json"}  # its keys differ from entry to entry
    assert "license" not in head  # the videos' are theirs
    many = facts(rows=rows() * 2000)  # 6,000 videos
    for tasks, size in (("both",), "1K<n<10K"), (("both", "video", "text"), "10K<n<100K"):
        text = card_text(dataclasses.replace(many, tasks=tasks))
        assert yaml.safe_load(text.split("---\n")[1])["size_categories"] == [size]
        assert f"one for each instruction: {', '.join(tasks).upper()}." in text


def test_the_hubs_loader_reads_entries_of_other_frames_by_the_cards_types(tmp_path):
    datasets = pytest.importorskip("datasets", "4.7")
    write_card(tmp_path, facts())
    (tmp_path / "card.md").rename(tmp_path / "README.md")
    entries = {name: entries_of(name, results_of(frames, ["A."] * len(frames)))
               for name, frames in (("train", [3, 8]), ("test", [5, 6, 9]))}  # fmt: skip
    for name, made in entries.items():
        write_entries(tmp_path / f"{name}.json", made)
    found = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {name: list(rows) for name, rows in found.items()} == entries


def test_the_same_facts_are_the_same_files(tmp_path):
    for name in ("one", "two"):
        paths = write_card(tmp_path / name, facts())
        assert [path.name for path in paths] == ["card.md", "card.json", "figure2.png"]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()
    with Image.open(tmp_path / "two" / "figure2.png") as image:
        assert image.size == (1080, 720) and not {"Software", "Creation Time", "date:create"} & image.info.keys()


def test_a_set_without_videos_has_a_card_without_a_figure(tmp_path):
    write_card(tmp_path, facts())
    paths = write_card(tmp_path, CardFacts(()))
    assert [path.name for path in paths] == ["card.md", "card.json"] == sorted(
        (path.name for path in tmp_path.iterdir()), reverse=True
    )
    text = paths[0].read_text("utf-8")
    assert table(text, "of a video")[0] == ["source duration, s", "-", "-", "-", "-", "183.0"]
    assert "None.\n" in text and "Not recorded." in text and "figure2" not in text
    assert json.loads(paths[1].read_text())["figures"]["key_frames"] is None


def test_a_card_that_cannot_be_written_leaves_the_former_one(tmp_path):
    write_card(tmp_path, facts())
    former = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError):
        write_card(tmp_path, facts(options={"value": math.nan}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == former


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7, 50, 5000])
def test_bins_hold_every_value_and_are_equally_wide(whole, count):
    rng = np.random.default_rng(count)
    for values in (rng.integers(0, 300, count).astype(float), np.full(count, 17.0), np.zeros(count)):
        edges = bin_edges(values, whole)
        assert np.histogram(values, edges)[0].sum() == count and 1 <= len(edges) - 1 <= MOST_BINS
        np.testing.assert_allclose(np.diff(edges), edges[1] - edges[0])
        if whole:
            assert ((edges - 0.5) % 1 == 0).all()  # so that no bin holds one whole number more than another


def test_nothing_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match="no video"):
        draw_figure2({name: [] for name in PAPER}, PAPER, tmp_path / "figure2.png")


def test_quality_is_measured_of_refined_videos_by_the_scorers_named(monkeypatch):
    from llava_v2xum.evaluate.models import quality_models

    class Words:
        """Longer sentences are better."""

        name, quality, source, truncated = "words", "grammar", str(Path(__file__).parent), 0

        def score(self, texts):
            return np.array([len(text.split()) / 10 for text in texts])

    asked = []
    monkeypatch.setattr(quality_models, "parse_scorer", lambda *spec: asked.append(spec) or Words())
    refined = results_of([5, 11], ["One two three.", "Four five six seven eight."])
    videos = [("a", refined), ("b", results_of([5], ["One."], refined=False))]
    record = quality_before_after(videos, grammar=["cola:x"], device="cpu")
    assert asked == [("cola:x", "grammar", "cpu")] and record["videos"] == 1
    assert record["scores"][0]["before"]["mean"] == 0.5  # `The picture of second 5.`
    assert record["scores"][0]["after"]["mean"] == pytest.approx(0.4)
    text = card_text(facts(quality=record))
    assert table(text, "quality") == [["grammar", "words curate", "0.500", "0.400"]]  # the folder alone
    assert quality_before_after(videos) is None
    assert quality_before_after(videos[1:], grammar=["cola:x"]) is None
