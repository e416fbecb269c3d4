"""The ablation script's variants, table and figures; no training."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import HfArgumentParser

from llava_v2xum.core.timeline import Timeline, as_template
from llava_v2xum.features import FrameFeature
from llava_v2xum.infer.engine import Answer
from llava_v2xum.shapes import answer_of, make_clip, truth_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "shapes"))
import ablate_shapes
import ablate_variants
import shapes_base
import shapes_figures

ARGS = ablate_shapes.parse_arguments(["--work", "/tmp/work", "--steps", "80", "--videos", "5"])
BY_NAME = {variant.name: variant for variant in ablate_shapes.VARIANTS}


def flags_of(name: str, part: int = 0) -> dict[str, str | list[str]]:
    """The flags of a training by name; those with several values as lists."""
    found: dict[str, list[str]] = {}
    for word in ablate_shapes.variant_flags(ARGS, BY_NAME[name], part, 1, Path("/tmp/out")):
        if word.startswith("--"):
            assert word not in found, f"{word} is given twice"
            found[word] = []
        else:
            found[[*found][-1]].append(word)
    return {flag: values[0] if len(values) == 1 else values for flag, values in found.items()}


@pytest.mark.parametrize("name", BY_NAME)
def test_flags_are_those_of_training(name):
    from llava_v2xum.model.compat import mended_arguments
    from llava_v2xum.train.arguments import DataArguments, ModelArguments, TrainingArguments

    variant = BY_NAME[name]
    for part in range(len(variant.parts)):
        words = ablate_shapes.variant_flags(ARGS, variant, part, 2, Path("/tmp/out"))
        words = mended_arguments(words, TrainingArguments.__dataclass_fields__)
        parser = HfArgumentParser((ModelArguments, DataArguments, TrainingArguments))
        read, unknown = parser.parse_known_args(words)
        assert unknown == []
        assert read.seed == 2 and read.num_frames == variant.num_frames and read.output_dir == "/tmp/out"
        assert read.max_steps * len(variant.parts) == 80
        assert FrameFeature(read.frame_feature, read.frame_tokens) == FrameFeature(*variant.kind)
        assert Timeline(read.num_frames, as_template(read.temporal_prompt_template or "[00]"))


def test_each_variant_differs_from_the_base_in_what_it_is_called():
    base = flags_of("base")

    def changed(name: str, part: int = 0) -> set[str]:
        flags = flags_of(name, part)
        return {flag for flag in {**base, **flags} if flags.get(flag) != base.get(flag)}

    alone = {"--per_device_train_batch_size", "--pack", "--model_max_length"}  # as many samples, a row each
    assert changed("main_only") == {"--data_path"}
    assert changed("lora") == {"--lora_enable", "--lora_r", "--lora_alpha", "--learning_rate"}
    assert changed("new_projector") == {"--pretrain_mm_mlp_adapter"}
    assert changed("no_prompts") == {"--temporal_prompts"} | alone
    assert changed("apart", 0) == changed("apart", 1) == {"--data_path", "--max_steps"} | alone
    assert changed("bare") == changed("f") == {"--temporal_prompt_template", "--model_max_length"}
    assert changed("n100") == {"--num_frames", "--data_path", "--feature_folder", "--model_max_length"}
    assert changed("tokens4") == {
        "--frame_tokens", "--feature_folder", "--model_max_length", "--pretrain_mm_mlp_adapter",
    }  # fmt: skip
    assert [Path(path).name for path in flags_of("apart", 1)["--data_path"]] == [
        "main-N50-text.json",
        "extra-N50-text.json",
    ]
    assert flags_of("base")["--per_device_train_batch_size"] == "5"
    assert flags_of("no_prompts")["--per_device_train_batch_size"] == "15"


def test_a_row_holds_the_longest_clip_and_never_two():
    """In positions that an answer surely takes: its digits, separators and words come on top."""
    for variant in ablate_shapes.VARIANTS:
        if variant.row_positions:
            frames = variant.num_frames * (ablate_variants.PROMPT_IDS[variant.prompt] + variant.kind[1])
            questions_and_shortest_answers = 3 * 28
            assert frames < variant.row_positions < 2 * (frames + questions_and_shortest_answers)


def test_grid_of_the_paper_is_the_index_itself_and_of_fewer_frames_the_nearest():
    assert (shapes_figures.nearest_index(100) == np.arange(100)).all()
    fifty = shapes_figures.nearest_index(50)  # frame i stands at 99 / 49 * i slices
    assert fifty[:6].tolist() == [0, 0, 1, 1, 2, 2] and fifty[-2:].tolist() == [49, 49]
    sampled = np.linspace(0, 99, 25)
    nearest = shapes_figures.nearest_index(25)
    assert all(abs(sampled[index] - place) <= 99 / 24 / 2 for place, index in enumerate(nearest))
    assert shapes_figures.on_grid([0, 2], 50) == {0, 1, 4, 5}
    assert shapes_figures.on_grid([], 50) == set()


def test_correlations_by_hand():
    pytest.importorskip("scipy")
    truth = set(range(10))
    exact = np.zeros(100)
    exact[:10] = 0.5
    assert shapes_figures.correlations(exact, truth) == pytest.approx((1.0, 1.0))
    assert shapes_figures.correlations(-exact, truth) == pytest.approx((-1.0, -1.0))
    assert shapes_figures.correlations(None, truth) == (0.0, 0.0)
    assert shapes_figures.correlations(np.ones(100), truth) == (0.0, 0.0)
    # both 0 or 1: Spearman's, Pearson's and Kendall's tau-b are the phi coefficient of the table of counts
    half = np.zeros(100)
    half[5:10] = 1  # 5 of the 10 true slices, no other: (5 * 90 - 5 * 0) / sqrt(10 * 90 * 5 * 95)
    assert shapes_figures.correlations(half, truth) == pytest.approx([450 / (900 * 475) ** 0.5] * 2)


def answers_of(clips, task: str, num_frames: int) -> list[Answer]:
    timeline = Timeline(num_frames)
    made = []
    for clip in clips:
        told = [(event, truth_frames(clip, event, timeline)) for event in clip.events]
        importance = np.zeros(num_frames)
        importance[[index for _, frames in told for index in frames]] = 1
        made.append(Answer(answer_of(told, task), (), importance, True))
    return made


def test_true_answers_score_full_marks_at_100_and_less_with_fewer_frames():
    pytest.importorskip("scipy")
    clips = [make_clip(77, index) for index in range(6)]
    for task, expected in (
        ("video", {"f1_video": 1, "spearman": 1, "kendall": 1}),
        ("text", {"exact_text": 1}),
        ("both", {"f1_both": 1, "exact_both": 1}),
    ):
        assert shapes_figures.measure(answers_of(clips, task, 100), clips, task, 100) == pytest.approx(expected)
    coarse = shapes_figures.measure(answers_of(clips, "video", 25), clips, "video", 25)
    assert 0.7 < coarse["f1_video"] < 1 and 0.6 < coarse["kendall"] < 1
    assert shapes_figures.best_possible(clips, 25)["f1"] == pytest.approx(coarse["f1_video"])
    assert shapes_figures.best_possible(clips, 100) == {"f1": 1.0, "exact": 1.0}


def test_wrong_answers_count_for_what_is_right_in_them():
    pytest.importorskip("scipy")
    clip = make_clip(77, 1)
    wrong = Answer("A pink cube rolls. " + clip.events[0].sentence, (), None, True)
    figures = shapes_figures.measure([wrong], [clip], "text", 100)
    assert figures == {"exact_text": pytest.approx(1 / max(2, len(clip.events)))}
    silent = shapes_figures.measure([Answer("", (), None, True)], [clip], "video", 100)
    assert silent == {"f1_video": 0.0, "spearman": 0.0, "kendall": 0.0}


def test_table_has_mean_and_spread_and_leaves_out_what_was_not_run():
    results = [
        {"variant": "apart", "f1_video": 0.5, "exact_text": 0.25, "spearman": 0.1, "kendall": 0.1},
        {"variant": "base", "f1_video": 0.80, "f1_both": 0.7, "exact_text": 0.5, "exact_both": 0.5, "spearman": 0.5,
         "kendall": 0.4},
        {"variant": "base", "f1_video": 0.90, "f1_both": 0.7, "exact_text": 0.5, "exact_both": 0.5, "spearman": 0.7,
         "kendall": 0.4},
    ]  # fmt: skip
    labels = {"base": "base", "lora": "LoRA", "apart": "apart"}
    head, line, base, apart = shapes_figures.table(results, labels).splitlines()
    assert head.count("|") == line.count("|") == base.count("|") == apart.count("|")

    def cells(row: str) -> list[str]:
        return [cell.strip() for cell in row.strip("|").split("|")][1:]

    same = ["70.0 ± 0.0", "50.0 ± 0.0", "50.0 ± 0.0"]
    assert cells(base) == ["2", "85.0 ± 7.1", *same, "0.600 ± 0.141", "0.400 ± 0.000"]
    assert cells(apart) == ["1", "50.0", "-", "25.0", "-", "0.100", "0.100"]


def test_learning_rate_climbs_only_where_a_stage_begins_above_the_last():
    rates = shapes_base.learning_rates([
        shapes_base.Stage(100, (1.0, 1.0), ()),
        shapes_base.Stage(100, (1.0, 0.1), ()),
        shapes_base.Stage(100, (0.5, 0.5), ()),
    ])  # fmt: skip
    assert rates[0] == pytest.approx(1 / 60) and rates[99] == rates[60] == rates[100] == 1
    assert rates[199] == pytest.approx(0.1) and rates[200] < 0.01 and rates[299] == 0.5


def test_symbols_are_one_hot_and_spread_over_tokens_without_loss():
    clip = make_clip(77, 0)
    symbol = shapes_base.symbol_of(clip.events[0])
    assert symbol.sum() == 3 and shapes_base.symbol_of(None).tolist() == [0.0] * 13 + [1.0]
    teacher = shapes_base.Teacher.__new__(shapes_base.Teacher)
    teacher.rng = np.random.default_rng(0)
    spread = teacher._spread(np.stack([symbol, shapes_base.symbol_of(None)]), 4).reshape(2, 4, -1)
    assert (spread[0] == symbol).all(axis=1).any() and (spread[1] == shapes_base.symbol_of(None)).all()
