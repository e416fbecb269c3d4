"""What reaches the decoder, and what comes back: placement, logits, generation, with tiny weights.

The oracle is a plain transcription of the released code's forward onto transformers' own Llama.
"""

from __future__ import annotations

import pytest
import tiny
import torch
import weights
from llava.constants import IMAGE_TOKEN_INDEX
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids

pytestmark = [pytest.mark.pinned, pytest.mark.every_python]

PLACE = IMAGE_TOKEN_INDEX
CHANNELS = weights.CHANNELS


@pytest.fixture(scope="module")
def model():
    return weights.video_model()


@pytest.fixture(scope="module")
def llama(model):
    """transformers' Llama with the same weights."""
    plain = LlamaForCausalLM(LlamaConfig(**tiny.llama_sizes()))
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    return plain.eval()


def released_embeddings(model, ids: Tensor, videos: list[Tensor], frames: list[list[int]] | None = None) -> Tensor:
    """[L, D]: text, `[ii]` and frame by frame, text, ..., in the words of the released code's forward."""
    table = model.get_input_embeddings().weight
    queue = list(zip(videos, frames or [list(range(len(video))) for video in videos]))
    rows: list[Tensor] = []
    for token in ids.tolist():
        if token != PLACE:
            rows.append(table[token])
            continue
        video, indices = queue.pop(0)
        visual = model.get_model().mm_projector(video)
        for position, index in enumerate(indices):
            prompt = weights.tokenizer()(f"[{index:02d}]", add_special_tokens=False).input_ids
            assert len(prompt) == 4
            rows.extend(table[prompt])
            rows.append(visual[position])
    assert not queue
    return torch.stack(rows)


def released_logits(model, llama, ids: Tensor, videos: list[Tensor], **frames) -> Tensor:
    return llama(inputs_embeds=released_embeddings(model, ids, videos, **frames)[None]).logits[0]


def prompt_ids(task: str = "both") -> Tensor:
    return build_input_ids(weights.tokenizer(), query_for(task))


def video(num_frames: int, name: str = "features") -> Tensor:
    return weights.numbers(num_frames, CHANNELS, name=name)


def right_padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
    return pad(rows, batch_first=True, padding_value=0), mask


# --- placement -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_each_embedding_lands_in_its_place(model):
    ids, features = prompt_ids(), video(100)
    place = ids.tolist().index(PLACE)
    with weights.decoder_inputs(model) as seen:
        model(ids[None], videos=[features])
    (row,) = seen[0]
    table = model.get_input_embeddings().weight
    assert len(row) == len(ids) - 1 + 500
    assert torch.equal(row[:place], table[ids[:place]])
    assert torch.equal(row[place + 500 :], table[ids[place + 1 :]])
    blocks = row[place : place + 500].view(100, 5, -1)
    visual = model.get_model().mm_projector(features)
    pieces = {piece: weights.tokenizer().convert_tokens_to_ids(piece) for piece in ["▁[", "]", *"0123456789"]}
    for index, block in enumerate(blocks):
        tens, ones = f"{index:02d}"
        assert torch.equal(block[:4], table[[pieces[piece] for piece in ("▁[", tens, ones, "]")]]), index
        assert torch.allclose(block[4], visual[index], atol=1e-6), index


@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "lengths"), [(100, [100]), (100, [7, 1, 33]), (8, [8]), (8, [8, 3])])
def test_logits_are_the_released_forwards(model, llama, num_frames, lengths):
    """Also N other than 100, and several turns with videos of different length."""
    if num_frames != 100:
        model = weights.video_model(num_frames)
    videos = [video(length, f"v{position}") for position, length in enumerate(lengths)]
    turns = [row for length in lengths for row in (prompt_ids("video"), torch.tensor([300, 301, 2]))]
    ids = torch.cat(turns)
    with weights.decoder_inputs(model) as seen:
        logits = model(ids[None], videos=videos).logits[0]
    assert torch.allclose(seen[0][0], released_embeddings(model, ids, videos), atol=1e-6)
    expected = released_logits(model, llama, ids, videos)
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < 1e-4


@torch.no_grad()
def test_frames_stand_under_their_own_indexes(model, llama):
    ids, features, frames = prompt_ids(), video(5), [40, 41, 7, 99, 0]
    logits = model(ids[None], videos=[features], video_indices=[torch.tensor(frames)]).logits[0]
    assert (logits - released_logits(model, llama, ids, [features], frames=[frames])).abs().max() < 1e-4
    elsewhere = model(ids[None], videos=[features]).logits[0]
    assert (logits - elsewhere).abs().max() > 1e-2


@torch.no_grad()
def test_a_batch_may_mix_images_videos_and_text(model, llama):
    image, pixels = weights.numbers(3, 28, 28, name="image"), weights.numbers(3, 3, 28, 28, name="clip")
    rows = [
        torch.tensor([1, 5, PLACE, 6]),
        torch.tensor([1, 7, 8, 9, 10, 11]),
        torch.cat([prompt_ids(), torch.tensor([20, PLACE, 21])]),
        prompt_ids("text"),
    ]
    media = [[image], [], [video(9), image], [pixels]]
    ids, mask = right_padded(rows)
    batch = model(ids, attention_mask=mask, images=[item for items in media for item in items])
    for position, (row, items) in enumerate(zip(rows, media)):
        alone = model(row[None], images=items or None).logits[0]
        assert torch.allclose(batch.logits[position, : len(alone)], alone, atol=1e-5), position
    patches = (tiny.IMAGE_SIZE // 7) ** 2
    assert batch.logits.shape[1] == max(len(rows[0]) - 1 + patches, len(rows[2]) - 2 + 45 + patches)
    # a row without a place may also bring a dummy item, as LLaVA's own data set gives it
    dummies = model(ids, attention_mask=mask, images=[image, image, video(9), image, pixels])
    torch.testing.assert_close(dummies.logits, batch.logits)  # four images in the tower's pass, not two


@torch.no_grad()
def test_pixels_go_through_the_tower_first(model):
    pixels = weights.numbers(40, 3, 28, 28, name="pixels")
    features = model.encode_frames(pixels)
    assert torch.allclose(features, model.get_vision_tower()(pixels).mean(dim=1), atol=1e-6)
    ids = prompt_ids()[None]
    from_pixels, from_features = (model(ids, videos=[frames]).logits for frames in (pixels, features))
    assert torch.equal(from_pixels, from_features)
    assert not torch.allclose(from_pixels, model(ids, videos=[features.flip(0)]).logits, atol=1e-3)


@torch.no_grad()
def test_llavas_own_argument_takes_stacked_videos(model):
    """As LLaVA's commands hand them over: features [B, T, C] or pixels [B, T, 3, H, W], in any dtype."""
    ids = prompt_ids()[None]
    for stacked in (video(6)[None], weights.numbers(1, 5, 3, 28, 28, name="stacked").half()):
        assert torch.equal(model(ids, images=stacked).logits, model(ids, videos=list(stacked)).logits)
    image = weights.numbers(1, 3, 28, 28, name="image").half()
    assert torch.allclose(model(ids, images=image).logits, model(ids, images=image.float()).logits, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_run_and_reach_the_decoder_as_they_are(model, dtype):
    ids, features, pixels = prompt_ids()[None], video(100), weights.numbers(4, 3, 28, 28)
    exact = model(ids, videos=[features]).logits
    other = weights.video_model().to(dtype)
    try:
        with weights.decoder_inputs(other) as seen:
            logits = other(ids, videos=[features.half()]).logits  # as stored features are
            new = other.generate(ids, videos=[pixels], max_new_tokens=3, do_sample=False)
    except RuntimeError as error:
        if "not implemented for 'Half'" not in str(error):
            raise
        pytest.skip("this torch has no float16 on CPU")
    assert [embeddings.dtype for embeddings in seen] == [dtype, dtype]
    assert new.shape == (1, 3)
    assert (logits.float() - exact).abs().mean() < (0.02 if dtype == torch.bfloat16 else 0.003)


@torch.no_grad()
def test_labels_keep_to_the_text(model):
    ids = torch.cat([prompt_ids(), torch.tensor([300, 301, 2])])
    labels = torch.full_like(ids, -100)
    labels[-3:] = ids[-3:]
    output = model(ids[None], labels=labels[None], videos=[video(12)])
    expected = torch.nn.functional.cross_entropy(output.logits[0, -4:-1], ids[-3:])
    assert torch.allclose(output.loss, expected, atol=1e-5)


def test_gradients_reach_projector_and_decoder_but_not_the_tower():
    model = weights.video_model()
    ids = prompt_ids()[None]
    model(ids, labels=ids.clamp(min=0), videos=[weights.numbers(4, 3, 28, 28)]).loss.backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if "vision_tower" not in name}


# --- generation ------------------------------------------------------------------------------------------------


def greedy(model, ids: Tensor, videos: list[Tensor], **kwargs) -> Tensor:
    return model.generate(ids, videos=videos, do_sample=False, max_new_tokens=10, **kwargs)


def test_generate_returns_the_new_ids_only(model, llama):
    ids, features = prompt_ids(), video(100)
    new = greedy(model, ids[None], [features])
    expected = []
    with torch.no_grad():
        for _ in range(10):
            whole = torch.cat([ids, torch.tensor(expected, dtype=torch.long)])
            expected.append(int(released_logits(model, llama, whole, [features])[-1].argmax()))
    assert new.tolist() == [expected]
    detailed = greedy(model, ids[None], [features], return_dict_in_generate=True, output_scores=True)
    assert detailed.sequences.tolist() == [expected] and len(detailed.scores) == 10
    assert greedy(model, None, [features], input_ids=ids[None]).tolist() == [expected]


def test_an_answer_does_not_depend_on_its_neighbours(model):
    rows = [prompt_ids("text"), torch.cat([prompt_ids(), torch.tensor([40, 41, 42])]), prompt_ids("both")]
    videos = [video(100, "a"), video(7, "b"), video(33, "c")]
    alone = [greedy(model, row[None], [features])[0].tolist() for row, features in zip(rows, videos)]
    ids, mask = right_padded(rows)
    assert greedy(model, ids, videos, attention_mask=mask).tolist() == alone
    left = torch.stack([torch.cat([row.new_zeros(ids.shape[1] - len(row)), row]) for row in rows])
    left_mask = torch.stack([torch.cat([row.new_zeros(ids.shape[1] - len(row)), row * 0 + 1]) for row in rows])
    assert greedy(model, left, videos, attention_mask=left_mask).tolist() == alone
    assert model.config.tokenizer_padding_side == "right"  # put back


def test_no_mask_is_needed_for_videos_of_different_length(model):
    ids, videos = prompt_ids(), [video(100, "a"), video(7, "b"), video(33, "c")]
    alone = [greedy(model, ids[None], [features])[0].tolist() for features in videos]
    assert len({tuple(answer) for answer in alone}) > 1
    assert greedy(model, ids.expand(3, -1), videos).tolist() == alone


def test_text_and_images_still_generate(model):
    stock = weights.image_model()
    image = weights.numbers(1, 3, 28, 28, name="image")
    ids = torch.tensor([[1, 5, PLACE, 6, 7]])
    settings = dict(do_sample=False, max_new_tokens=6)
    expected = stock.generate(ids, images=image, **settings)[:, -6:]
    assert torch.equal(model.generate(ids, images=image, **settings), expected)
    text = torch.tensor([[1, 5, 6, 7]])
    assert torch.equal(model.generate(text, **settings), stock.generate(text, **settings)[:, -6:])


def test_a_splicing_that_asks_for_kinds_gets_one_for_each_item(monkeypatch):
    """LLaVA-NeXT's, which stands before `image_sizes`, and drops what is beyond its default of one."""
    from llava.model.llava_arch import LlavaMetaForCausalLM

    model, images = weights.video_model(10), weights.numbers(2, 3, 28, 28, name="images")
    ids = torch.tensor([[1, 5, -200, 6], [1, 8, 9, -200]])
    videos = [weights.numbers(10, weights.CHANNELS, name=name) for name in ("one", "other")]
    expected = model(ids, videos=videos).logits
    stock, seen = LlavaMetaForCausalLM.prepare_inputs_labels_for_multimodal, []

    def splice(
        self, input_ids, position_ids, attention_mask, past_key_values, labels, images, modalities=("image",),
        image_sizes=None,
    ):  # fmt: skip
        seen.append((list(modalities), image_sizes))
        made = stock(self, input_ids, position_ids, attention_mask, past_key_values, labels, images, image_sizes)
        return tuple(part[: len(modalities)] if isinstance(part, torch.Tensor) else part for part in made)

    monkeypatch.setattr(LlavaMetaForCausalLM, "prepare_inputs_labels_for_multimodal", splice)
    assert torch.equal(model(ids, videos=videos).logits, expected)
    model.prepare_inputs_labels_for_multimodal(ids, None, None, None, None, images, ["image"] * 2, [(28, 28)])
    assert seen == [(["image"] * 2, None), (["image"] * 2, [(28, 28)])]
