"""Loading every layout: the logits of a model put together by hand, and what is said of each thing that is wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_layouts as layouts
import torch
import weights
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.features import OpenClipTower
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint
from llava_v2xum.model.modeling import LlavaV2XumConfig, LlavaV2XumForCausalLM

pinned = pytest.mark.pinned
LINEAR = {"mm_projector_type": "linear", "mm_hidden_size": layouts.CLIP_EMBEDDING, "frame_feature": "clip_embedding"}


@pytest.fixture
def tower() -> Path:
    return weights.sources()[1]


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    """No test asks the network."""
    import huggingface_hub

    def refuse(name, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


def by_hand(state: dict[str, Tensor], tokenizer, tower: Path, **fields) -> LlavaV2XumForCausalLM:
    config = LlavaV2XumConfig(**{**tiny.llama_sizes(), **weights.llava_settings(tower), **fields})
    if fields.get("frame_feature") == "clip_embedding":
        del config.mm_vision_tower
    model = LlavaV2XumForCausalLM(config)
    model.load_state_dict(state)  # strict: all of the weights, no other
    model.bind_timeline(tokenizer)
    return model.eval()


@torch.no_grad()
def logits_of(model, tokenizer) -> Tensor:
    ids = build_input_ids(tokenizer, query_for("both"))[None]
    return model(ids, videos=[weights.numbers(100, model.config.mm_hidden_size)]).logits


def assert_same(model, tokenizer, state, tower, atol: float = 0.0, **fields) -> None:
    expected = by_hand(state, tokenizer, tower, **fields)
    ours = {name: weight for name, weight in model.state_dict().items() if ".vision_tower." not in name}
    assert set(ours) == set(state)
    torch.testing.assert_close(logits_of(model, tokenizer), logits_of(expected, tokenizer), rtol=0, atol=atol)
    assert logits_of(model, tokenizer).std() > 0.01


def assert_ready(tokenizer, model, encoder, width: int) -> None:
    """What every layout must come as: real weights, eval mode, left padding, the tower shared and loaded."""
    everything = dict(model.named_parameters()) | dict(model.named_buffers())
    assert {tensor.device.type for tensor in everything.values()} == {"cpu"}
    assert all(tensor.isfinite().all() for tensor in everything.values() if tensor.is_floating_point())
    assert not any(module.training for module in model.modules())
    assert tokenizer.padding_side == model.config.tokenizer_padding_side == "left"
    assert tokenizer.pad_token is not None and model.config.model_type == "llava_v2xum"
    assert encoder.tower is model.get_vision_tower()
    assert encoder.description == model.config.describe_features(encoder.tower)
    frames = (weights.numbers(3, 40, 60, 3, name="frames").numpy() * 127 + 128).astype(np.uint8)
    features = encoder(frames)
    assert features.shape == (3, width) and features.dtype == model.dtype
    ids = build_input_ids(tokenizer, query_for("text"))[None]
    with torch.no_grad():
        from_pixels = model(ids, videos=[encoder.preprocess(frames)]).logits
        torch.testing.assert_close(from_pixels, model(ids, videos=[features]).logits)


# --- each layout ---------------------------------------------------------------------------------------------------


@pinned
@pytest.mark.parametrize("model_type", ["llava_v2xum", "llava_llama", "llava"])
def test_full_checkpoint(tmp_path, tower, model_type):
    state = layouts.write_full(tmp_path / "c", model_type, tower, with_tower=True)
    tokenizer, model, encoder = load_pretrained(tmp_path / "c", device="cpu")
    assert_same(model, tokenizer, state, tower)
    assert_ready(tokenizer, model, encoder, tiny.TOWER_WIDTH)
    assert encoder.aspect_ratio == "pad"


@pinned
@pytest.mark.parametrize(
    "fields",
    [{}, {"mm_tunable_parts": "mm_mlp_adapter,mm_language_model"}]
    + [{"unfreeze_mm_vision_tower": True}, {"mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter"}],
)
def test_the_towers_weights_are_those_of_its_folder_unless_the_checkpoint_tuned_it(tmp_path, tower, fields):
    tuned = fields.get("unfreeze_mm_vision_tower") or "mm_vision_tower" in fields.get("mm_tunable_parts", "")
    layouts.write_full(tmp_path / "c", "llava_v2xum", tower, with_tower=True, **fields)
    _, model, _ = load_pretrained(tmp_path / "c")
    plain = {name.removeprefix("vision_model."): t for name, t in layouts.tower_state(tower).items()}
    loaded = model.get_vision_tower().vision_tower.state_dict()
    for name, tensor in loaded.items():
        expected = plain[name.removeprefix("vision_model.")]
        assert torch.equal(tensor, expected.half().float() * 2 if tuned else expected), name


@pinned
@pytest.mark.parametrize("prefixed", [False, True])
def test_a_tower_saved_by_either_release(tmp_path, tower, prefixed):
    """transformers 5 saves the tower without `vision_model.`, which 4.37 answers with random weights."""
    folder = layouts.copy_tower(tower, tmp_path / "tower")
    plain = {name.removeprefix("vision_model."): t for name, t in layouts.tower_state(tower).items()}
    state = {f"vision_model.{name}" if prefixed else name: tensor for name, tensor in plain.items()}
    layouts.write_weights(state, folder / "model.safetensors")
    layouts.write_full(tmp_path / "c", "llava_v2xum", folder)
    _, model, _ = load_pretrained(tmp_path / "c")
    for name, tensor in model.get_vision_tower().vision_tower.state_dict().items():
        assert torch.equal(tensor, plain[name.removeprefix("vision_model.")]), name


@pinned
@pytest.mark.parametrize("model_type", ["llava_v2xum", "llava_llama"])
@pytest.mark.parametrize("named", [False, True])
def test_lora_checkpoint(tmp_path, tower, model_type, named):
    """By model_base, or by the base that adapter_config.json names; its projector wins over the file given."""
    base = layouts.write_base(tmp_path / "base")
    state = layouts.write_lora(tmp_path / "c", base, str(tmp_path / "base") if named else "/gone", model_type, tower)
    torch.save(layouts.projector_state(tiny.TOWER_WIDTH), tmp_path / "mm_projector.bin")
    arguments = {} if named else {"model_base": tmp_path / "base"}
    tokenizer, model, encoder = load_pretrained(
        tmp_path / "c", pretrain_mm_mlp_adapter=tmp_path / "mm_projector.bin", **arguments
    )
    assert isinstance(model, LlavaV2XumForCausalLM)
    assert_same(model, tokenizer, state, tower, atol=1e-5)
    assert_ready(tokenizer, model, encoder, tiny.TOWER_WIDTH)


@pinned
def test_projector_folder(tmp_path, tower):
    base = layouts.write_base(tmp_path / "base", bin_file=True)
    projector = layouts.projector_state(tiny.TOWER_WIDTH)
    layouts.write_json(layouts.model_config("llava_llama", tower), tmp_path / "c" / "config.json")
    torch.save({name: tensor.half() for name, tensor in projector.items()}, tmp_path / "c" / "mm_projector.bin")
    tokenizer, model, encoder = load_pretrained(tmp_path / "c", model_base=tmp_path / "base")
    assert_same(model, tokenizer, base | {name: t.half().float() for name, t in projector.items()}, tower)
    assert_ready(tokenizer, model, encoder, tiny.TOWER_WIDTH)


@pinned
@pytest.mark.parametrize("empty_non_lora", [True, False])
@pytest.mark.parametrize("form", ["one folder", "three paths"])
def test_released_layout(tmp_path, tower, empty_non_lora, form):
    root = tmp_path / "released"
    state = layouts.write_released(root, empty_non_lora)
    stage1 = root / "llava-vicuna-v1-5-7b-stage1" / "mm_projector.bin"
    arguments = {"model_path": root}
    if form == "three paths":
        stage2 = root / "v2xumllm-vicuna-v1-5-7b-stage2-e2"
        arguments = {"model_path": stage2, "model_base": tmp_path / "base", "pretrain_mm_mlp_adapter": stage1}
        arguments["vision_tower"] = root / "clip" / layouts.CLIP_NAME
    tokenizer, model, encoder = load_pretrained(**arguments)
    assert_same(model, tokenizer, state, tower, atol=1e-5, **LINEAR)
    assert_ready(tokenizer, model, encoder, layouts.CLIP_EMBEDDING)
    assert isinstance(encoder.tower, OpenClipTower) and model.config.mm_hidden_size == layouts.CLIP_EMBEDDING
    pixels = weights.numbers(2, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    with torch.no_grad():
        expected = layouts.make_clip().encode_image(pixels)
    torch.testing.assert_close(encoder.tower(pixels)[:, 0], expected)


@pinned
def test_released_forward(tmp_path):
    """Logits against the released forward, written out: text, for each frame 4 prompt ids and its feature, text."""
    state = layouts.write_released(tmp_path / "released")
    tokenizer, model, _ = load_pretrained(tmp_path / "released")
    llama = LlamaForCausalLM(LlamaConfig(**tiny.llama_sizes())).eval()
    llama.load_state_dict({name: tensor for name, tensor in state.items() if ".mm_projector." not in name})
    features = weights.numbers(100, layouts.CLIP_EMBEDDING)
    visual = features @ state["model.mm_projector.weight"].T + state["model.mm_projector.bias"]
    table = state["model.embed_tokens.weight"]
    ids = build_input_ids(tokenizer, "<video>\n Please generate a VIDEO summarization for this video.")
    place = ids.tolist().index(-200)
    rows = [table[ids[:place]]]
    for frame in range(100):
        prompt = tokenizer(f"[{frame:02d}]", add_special_tokens=False).input_ids
        assert len(prompt) == 4
        rows += [table[prompt], visual[frame : frame + 1]]
    rows.append(table[ids[place + 1 :]])
    with torch.no_grad():
        expected = llama(inputs_embeds=torch.cat(rows)[None]).logits
        logits = model(ids[None], videos=[features]).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)


@pinned
def test_released_layout_without_a_clip_file_waits_for_its_first_use(tmp_path, monkeypatch):
    import open_clip

    layouts.write_released(tmp_path / "released")
    shutil.rmtree(tmp_path / "released" / "clip")
    tokenizer, model, encoder = load_pretrained(tmp_path / "released")
    assert logits_of(model, tokenizer).isfinite().all()

    asked = {}

    def refuse(*args, **kwargs):
        asked.update(kwargs)
        raise OSError("no network in tests")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    with pytest.raises(FileNotFoundError, match="expected ViT-L-14.pt.*no network"):
        encoder(np.zeros((1, 8, 8, 3), np.uint8))
    assert asked["force_quick_gelu"]  # what OpenAI trained with; ViT-L-14 alone means GELU


@pinned
def test_loading_says_nothing(tmp_path, tower, capfd):
    """No progress bar, no report of weights that are loaded later, no warning."""
    layouts.write_full(tmp_path / "full", "llava_llama", tower, with_tower=True)
    layouts.change_json(tmp_path / "full" / "tokenizer_config.json", legacy=None)
    base = layouts.write_base(tmp_path / "base")
    layouts.write_lora(tmp_path / "lora", base, str(tmp_path / "base"), "llava_v2xum", tower)
    layouts.write_released(tmp_path / "parts" / "released")
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("full", "lora", "parts/released"):
            load_pretrained(tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pinned
def test_shards_tied_weights_and_rope(tmp_path, tower):
    """Weights in two .bin shards with an old buffer among them, a tied head, and transformers 5's rope fields."""
    state = layouts.write_full(tmp_path / "c", "llava_llama", tower, tie_word_embeddings=True, rope_theta=None)
    (tmp_path / "c" / "model.safetensors").unlink()
    del state["lm_head.weight"]
    rope = {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}
    layouts.change_json(tmp_path / "c" / "config.json", rope_parameters=rope, rope_scaling=None)
    stored = state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    places = {name: f"pytorch_model-0000{1 + index % 2}-of-00002.bin" for index, name in enumerate(stored)}
    for shard in set(places.values()):
        torch.save({name: stored[name] for name in stored if places[name] == shard}, tmp_path / "c" / shard)
    layouts.write_json({"weight_map": places}, tmp_path / "c" / "pytorch_model.bin.index.json")
    tokenizer, model, _ = load_pretrained(tmp_path / "c")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    scaled = {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    whole = state | {"lm_head.weight": state["model.embed_tokens.weight"]}
    assert_same(model, tokenizer, whole, tower, tie_word_embeddings=True, **scaled)
    save_checkpoint(model, tokenizer, tmp_path / "out")
    tokenizer, again, _ = load_pretrained(tmp_path / "out")
    assert torch.equal(logits_of(model, tokenizer), logits_of(again, tokenizer))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["rope_theta"], config["rope_scaling"]["factor"], config["tie_word_embeddings"]) == (500.0, 2.0, True)


@pinned
def test_dtypes(tmp_path, tower):
    layouts.write_full(tmp_path / "c", "llava_v2xum", tower)
    tokenizer, model, _ = load_pretrained(tmp_path / "c", device="cpu")
    assert model.dtype == torch.float32
    reference = logits_of(model, tokenizer)
    kinds = [torch.bfloat16, "bfloat16"]
    if int(torch.__version__.split(".")[0]) >= 2 and int(torch.__version__.split(".")[1]) >= 4:
        kinds.append("float16")  # older releases cannot multiply it on the CPU
    for kind in kinds:
        tokenizer, model, encoder = load_pretrained(tmp_path / "c", dtype=kind)
        assert {p.dtype for p in model.parameters()} == {getattr(torch, kind) if isinstance(kind, str) else kind}
        low = logits_of(model, tokenizer)
        assert (low.float() - reference).abs().max() < 0.1 * reference.abs().max()
        assert encoder(np.zeros((1, 8, 8, 3), np.uint8)).dtype == model.dtype
    with pytest.raises(ValueError, match="dtype must be 'auto'.*int8"):
        load_pretrained(tmp_path / "c", dtype="int8")


def test_lora_in_half_precision(tmp_path, tower):
    base = layouts.write_base(tmp_path / "base")
    state = layouts.write_lora(tmp_path / "c", base, str(tmp_path / "base"), "llava_v2xum", tower)
    _, model, _ = load_pretrained(tmp_path / "c", dtype="bfloat16")
    for name, weight in state.items():
        loaded = model.state_dict()[name]
        assert loaded.dtype == torch.bfloat16
        torch.testing.assert_close(loaded.float(), weight, rtol=0.02, atol=0.02)


# --- save_checkpoint -----------------------------------------------------------------------------------------------


@pinned
def test_round_trip_of_a_checkpoint_that_holds_its_tower(tmp_path, tower, monkeypatch):
    layouts.write_full(tmp_path / "c", "llava_v2xum", layouts.copy_tower(tower, tmp_path / "tower"))
    tokenizer, model, encoder = load_pretrained(tmp_path / "c")
    save_checkpoint(model, tokenizer, tmp_path / "out")
    frames = np.arange(2 * 30 * 50 * 3, dtype=np.uint8).reshape(2, 30, 50, 3)
    expected, features = logits_of(model, tokenizer), encoder(frames)
    shutil.rmtree(tmp_path / "tower")
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    tokenizer, again, encoder = load_pretrained("moved")
    assert torch.equal(logits_of(again, tokenizer), expected) and torch.equal(encoder(frames), features)
    assert json.loads((tmp_path / "moved" / "config.json").read_text())["mm_vision_tower"] == "vision_tower"
    assert again.config.mm_vision_tower == str(Path("moved") / "vision_tower")
    stored = layouts.tower_state(tmp_path / "moved")
    assert not any("vision_tower" in name for name in stored)
    assert all(name.startswith("vision_model.") for name in layouts.tower_state(tmp_path / "moved" / "vision_tower"))


@pinned
def test_round_trip_of_the_released_layout_and_in_half_precision(tmp_path):
    layouts.write_released(tmp_path / "released")
    tokenizer, model, encoder = load_pretrained(tmp_path / "released")
    save_checkpoint(model, tokenizer, tmp_path / "out", dtype="float16")
    shutil.rmtree(tmp_path / "released")
    assert all(tensor.dtype == torch.float16 for tensor in layouts.tower_state(tmp_path / "out").values())
    tokenizer, again, encoder_again = load_pretrained(tmp_path / "out")
    assert again.config.frame_feature == "clip_embedding"
    for name, weight in again.state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=2e-3, atol=2e-3)
    frames = np.arange(2 * 30 * 50 * 3, dtype=np.uint8).reshape(2, 30, 50, 3)
    assert torch.equal(encoder(frames), encoder_again(frames))


@pinned
def test_another_tower_can_be_given(tmp_path, tower):
    layouts.write_full(tmp_path / "c", "llava_v2xum", "/gone/tower")
    with pytest.raises(FileNotFoundError, match="config.json.*/gone/tower"):
        load_pretrained(tmp_path / "c")
    tokenizer, model, encoder = load_pretrained(tmp_path / "c", vision_tower=tower)
    assert_ready(tokenizer, model, encoder, tiny.TOWER_WIDTH)
    other = layouts.copy_tower(tower, tmp_path / "other")
    state = layouts.tower_state(other)
    layouts.write_weights({name: tensor * 2 for name, tensor in state.items()}, other / "model.safetensors")
    save_checkpoint(model, tokenizer, tmp_path / "out", vision_tower_folder=other)
    _, again, _ = load_pretrained(tmp_path / "out")
    for name, tensor in again.get_vision_tower().vision_tower.state_dict().items():
        assert torch.equal(tensor, model.get_vision_tower().vision_tower.state_dict()[name] * 2)


def test_saving_replaces_a_checkpoint_whole_or_not_at_all(tmp_path, tower, monkeypatch):
    from llava_v2xum.model.checkpoint import save

    layouts.write_full(tmp_path / "c", "llava_v2xum", tower)
    tokenizer, model, _ = load_pretrained(tmp_path / "c")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="mine"):
        save_checkpoint(model, tokenizer, tmp_path / "mine")
    save_checkpoint(model, tokenizer, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(save, "save_tokenizer", fail)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(model, tokenizer, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    (tmp_path / "out" / "stale.bin").write_text("")
    save_checkpoint(model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out" / "stale.bin").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "mine", "out"]
