"""Packed rows: several samples in one row give what they give on their own."""

from __future__ import annotations

import pytest
import torch
import weights

from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.data.dataset import tokenize_conversation
from llava_v2xum.model import packing
from llava_v2xum.train.options import DataOptions

pytestmark = pytest.mark.pinned

FRAMES = 6
ANSWERS = {"video": "[02, 03].", "text": "A woman brushes her hair.", "both": "A man runs [01, 02]. A box [05]."}


@pytest.fixture(scope="module")
def model():
    return weights.video_model(FRAMES)


def sample_of(task: str, answer: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    turns = [{"from": "human", "value": query_for(task)}, {"from": "gpt", "value": answer or ANSWERS[task]}]
    return tokenize_conversation(turns, weights.tokenizer())


def text_sample(answer: str) -> tuple[torch.Tensor, torch.Tensor]:
    turns = [{"from": "human", "value": "Please."}, {"from": "gpt", "value": answer}]
    return tokenize_conversation(turns, weights.tokenizer())


def video(name: str) -> torch.Tensor:
    return weights.numbers(FRAMES, weights.CHANNELS, name=name)


def loss_and_count(model, ids, labels, videos, mask=None) -> tuple[torch.Tensor, int]:
    """The summed loss and how many tokens it is of; the mean over the same tokens is what training takes."""
    output = model(ids, attention_mask=mask, labels=labels, videos=videos or None)
    count = int((labels[:, 1:] != -100).sum())
    return output.loss * count, count


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def pad(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def test_a_packed_row_gives_the_losses_and_gradients_of_its_samples(model):
    """Three tasks of one video, two of another and a text in one row, a single sample in a second, shorter row."""
    one, two = [sample_of(task) for task in TASKS], [sample_of("both", "A man."), sample_of("both", "[00]. [04].")]
    rows = [[one, two, [text_sample("A hand.")]], [[sample_of("text")]]]
    videos = [[video("a"), video("b")], [video("c")]]
    apart = [(one, "a"), (two, "b"), ([text_sample("A hand.")], None), ([sample_of("text")], "c")]

    model.zero_grad()
    total, tokens = 0.0, 0
    for samples, name in apart:
        for ids, labels in samples:
            loss, count = loss_and_count(model, ids[None], labels[None], [video(name)] if name else None)
            total, tokens = total + loss, tokens + count
    (total / tokens).backward()
    expected = gradients(model)

    model.zero_grad()
    packed = [packing.pack_row(groups) for groups in rows]
    ids, labels, codes = (pad(list(part), value) for part, value in zip(zip(*packed), (0, -100, 0)))
    assert int((ids == -200).sum()) == 3  # each video's frames stand once
    loss, count = loss_and_count(model, ids, labels, [item for row in videos for item in row], codes)
    assert count == tokens
    (loss / count).backward()
    torch.testing.assert_close(loss, total, atol=1e-4, rtol=1e-5)
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_the_prefix_is_shared_and_every_branch_begins_with_its_own_token():
    samples = [sample_of(task) for task in TASKS]
    ids, labels, codes = packing.pack_row([samples])
    shared = packing.shared_length(samples)
    assert all(torch.equal(sample[0][:shared], samples[0][0][:shared]) for sample in samples)
    assert -200 in samples[0][0][:shared].tolist()
    assert len(ids) == shared + sum(len(sample[0]) - shared for sample in samples)
    assert codes.tolist() == [1] * shared + [
        2 + branch for branch, (sample, _) in enumerate(samples) for _ in range(len(sample) - shared)
    ]
    learned = [row[row != -100].tolist() for _, row in samples]
    assert labels[labels != -100].tolist() == [number for row in learned for number in row]


def test_answers_to_the_same_question_part_before_their_first_token():
    """The first token of an answer is predicted at the token before it, which must belong to one branch alone."""
    samples = [sample_of("both", "[00]."), sample_of("both", "[00]. [01].")]
    first = int((samples[0][1] != -100).nonzero()[0])
    assert packing.shared_length(samples) == first - 1


def test_samples_that_differ_from_their_first_token_on_share_nothing():
    ids = [torch.tensor([1, 5, 6]), torch.tensor([2, 5, 6])]
    samples = [(row, torch.tensor([-100, -100, 6])) for row in ids]
    assert packing.shared_length(samples) == 0
    packed, _, codes = packing.pack_row([samples])
    assert packed.tolist() == [1, 5, 6, 2, 5, 6] and codes.tolist() == [2, 2, 2, 3, 3, 3]


def test_a_video_right_behind_another_belongs_to_its_own_branch(model):
    """One sample goes on with a placeholder where the other goes on with text; rows padded on either side."""

    def ask(question: str, answer: str) -> tuple[torch.Tensor, torch.Tensor]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return tokenize_conversation(turns, weights.tokenizer())

    samples = [ask("<video><video>\nPlease.", "A man."), ask("<video>\n<video>\nPlease.", "A box.")]
    shared = packing.shared_length(samples)
    assert samples[0][0][shared] == -200 and samples[1][0][shared] != -200
    two = [video("a"), video("b")]
    expected, tokens = 0.0, 0
    for ids, labels in [*samples, text_sample("A hand.")]:
        loss, count = loss_and_count(model, ids[None], labels[None], two if -200 in ids else None)
        expected, tokens = expected + loss, tokens + count
    packed = [packing.pack_row([samples]), packing.pack_row([[text_sample("A hand.")]])]
    for side in ("right", "left"):
        model.config.tokenizer_padding_side = side
        try:
            ids, labels, codes = (pad(list(part), value) for part, value in zip(zip(*packed), (0, -100, 0)))
            loss, count = loss_and_count(model, ids, labels, [two[0], two[1], two[1]], codes)
        finally:
            model.config.tokenizer_padding_side = "right"
        assert count == tokens
        torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)


def test_frames_have_the_code_of_their_placeholder():
    ids = torch.tensor([[1, -200, 5, -200, 6], [1, 5, 0, 0, 0]])
    codes = torch.tensor([[1, 1, 1, 2, 2], [2, 2, 0, 0, 0]])
    spread = packing.spread(ids, codes, [2, 3, 0], 8, "right")
    assert spread.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2], [2, 2, 0, 0, 0, 0, 0, 0]]
    assert packing.spread(ids, codes, [2, 3, 0], 8, "left")[1].tolist() == [0, 0, 0, 0, 0, 0, 2, 2]


def test_positions_and_attention_by_hand():
    one, two = 1, 1 + packing.BRANCHES  # two groups: a prefix of two with branches of two and one; one sample; padding
    codes = torch.tensor([[one, one, one + 1, one + 1, one + 2, two + 1, two + 1, 0]])
    assert packing.positions(codes)[0, :7].tolist() == [0, 1, 2, 3, 2, 0, 1]
    expected = [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
    ]
    assert packing.allowed(codes)[0, 0].int().tolist() == expected


def test_an_unpacked_mask_is_no_packed_one():
    assert not packing.is_packed(torch.ones(2, 3, dtype=torch.long)) and not packing.is_packed(None)


def test_rows_hold_every_sample_once_and_keep_a_video_together():
    lengths = [60, 60, 60, 50, 50, 100, 30]
    keys, shared = ["a", "a", "a", "b", "b", "c", "d"], [40] * 7
    rows = packing.plan_rows(lengths, keys, shared, 100, seed=1)
    assert sorted(sample for row in rows for group in row for sample in group) == list(range(7))
    groups = [group for row in rows for group in row]
    assert [0, 1, 2] in groups and [3, 4] in groups  # 60 + 20 + 20 and 50 + 10
    for row in rows:
        assert sum(lengths[group[0]] + sum(lengths[i] - 40 for i in group[1:]) for group in row) <= 100
    assert len(rows) == 3  # 100; 100; 60 + 30
    assert rows == packing.plan_rows(lengths, keys, shared, 100, seed=1)


def test_a_video_with_more_answers_than_fit_gets_several_groups():
    rows = packing.plan_rows([60] * 5, ["a"] * 5, [40] * 5, 100, seed=0)
    assert sorted(len(group) for row in rows for group in row) == [2, 3]


def test_flash_attention_is_refused(model, monkeypatch):
    samples = [sample_of(task) for task in TASKS]
    ids, labels, codes = packing.pack_row([samples])
    monkeypatch.setattr(model.config, "_attn_implementation", "flash_attention_2")
    with pytest.raises(ValueError, match="'sdpa' or 'eager', got 'flash_attention_2'"):
        model(ids[None], attention_mask=codes[None], labels=labels[None], videos=[video("a")])


def test_flash_attention_is_refused_before_the_first_step(model, data_args, monkeypatch):
    from llava_v2xum.data.dataset import make_data_module

    data_args.pack = True
    monkeypatch.setattr(model.config, "_attn_implementation", "flash_attention_2")
    with pytest.raises(ValueError, match="give --attn_implementation sdpa, or leave out --pack"):
        make_data_module(weights.tokenizer(), data_args, model)


# --- the data set ----------------------------------------------------------------------------------------------


def entries_of(folder) -> list[dict]:
    """Three tasks of two videos, a second answer to one question, a part of a video's frames, two videos, a text."""

    def entry(entry_id: str, question: str, answer: str, **more) -> dict:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": entry_id, "conversations": turns, **more}

    entries = [entry(name, query_for(task), ANSWERS[task]) for name in ("a", "b") for task in TASKS]
    entries.append(entry("a", query_for("both"), "A box [05]."))
    entries.append(entry("a", query_for("text"), "A box.", frame_indices=[1, 4]))
    compare = "First <video>, then <video>. Please."
    entries.append(entry("two", compare, "A man.", videos=["a", "b"]))
    entries.append(entry("two", compare, "A woman.", videos=["a", "b"]))
    entries.append(entry("t", "Please.", "A hand."))
    return entries


@pytest.fixture
def data_args(tmp_path):
    import json
    from types import SimpleNamespace

    import numpy as np

    (tmp_path / "features").mkdir()
    for name in "ab":
        np.save(tmp_path / "features" / f"{name}.npy", video(name).numpy().astype(np.float16))
    (tmp_path / "data.json").write_text(json.dumps(entries_of(tmp_path)))
    asked = DataOptions([str(tmp_path / "data.json")], feature_folder=str(tmp_path / "features"), strict=True)
    return SimpleNamespace(**vars(asked), image_folder=None)


def test_a_packed_data_set_trains_on_the_same_as_the_plain_one(model, data_args):
    from llava_v2xum.data.dataset import make_data_module

    plain = make_data_module(weights.tokenizer(), data_args, model)
    data_args.pack = True
    packed = make_data_module(weights.tokenizer(), data_args, model)
    rows = packed["train_dataset"]
    assert sorted(i for row in rows.rows for group in row for i in group) == list(range(len(plain["train_dataset"])))
    assert len(rows) < len(plain["train_dataset"]) / 2
    assert max(rows.lengths) <= weights.tokenizer().model_max_length

    def total(module: dict) -> tuple[float, int]:
        batch = module["data_collator"]([module["train_dataset"][i] for i in range(len(module["train_dataset"]))])
        count = int((batch["labels"] != -100).sum())
        with torch.no_grad():
            return model(**batch).loss.item() * count, count

    (loss, count), (expected, expected_count) = total(packed), total(plain)
    assert count == expected_count and loss == pytest.approx(expected, rel=1e-5)


def test_the_lengths_of_packed_rows_are_those_of_the_decoders_input(model, data_args):
    from llava_v2xum.data.dataset import make_data_module

    data_args.pack = True
    module = make_data_module(weights.tokenizer(), data_args, model)
    rows = module["train_dataset"]
    for number, length in enumerate(rows.lengths):
        with torch.no_grad(), weights.decoder_inputs(model) as seen:
            model(**module["data_collator"]([rows[number]]))
        assert seen[0].shape[1] <= length  # what more is shared than the plan was sure of makes a row shorter


def test_training_runs_on_packed_rows(data_args, tmp_path):
    import json
    from pathlib import Path

    import tiny

    from llava_v2xum.train.loop import train

    tiny.write_base(tmp_path / "base")
    train([
        "--model_name_or_path", str(tmp_path / "base"), "--vision_tower", str(weights.sources()[1]),
        "--data_path", *data_args.data_path, "--feature_folder", data_args.feature_folder, "--num_frames", str(FRAMES),
        "--output_dir", str(tmp_path / "out"), "--pack", "True", "--max_steps", "12", "--learning_rate", "2e-2",
        "--model_max_length", "400", "--per_device_train_batch_size", "2", "--group_by_modality_length", "True",
        "--save_strategy", "no", "--report_to", "none", "--use_cpu", "True", "--logging_steps", "1",
    ])  # fmt: skip
    history = json.loads(Path(tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    losses = [step["loss"] for step in history if "loss" in step]
    assert losses[-1] < 0.7 * losses[0]
