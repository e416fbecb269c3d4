"""Whether a card gives what the CPU gives: checkpoints of every layout, drafts, recorded passes, small weights."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from bench_infer_settings import DEMO
from released_loop import released_answer
from torch import Tensor

from gpu_proof.rows import Row, measured
from gpu_proof.setting import Setting
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.infer.drafting import DEFAULT_DRAFTER, drafter_kind
from llava_v2xum.infer.engine import Answer, Engine, Job, generate_answers
from llava_v2xum.model.checkpoint import load_pretrained
from llava_v2xum.shapes import draw_frames, make_clip

# by layouts: modules of their towers; torchvision belongs to one release of PyTorch, so it is no wheel to carry
NEEDED = {"released": ("open_clip", "torchvision")}
LARGEST_DIFFERENCE = 1e-4  # of logits in float32, where sums are made in another order
IMPORTANCE = 1e-5
SERIES = 31  # of clips; any that the demo was not trained on
GREEDY_BY_TRANSFORMERS = 8  # clips, as a pass a token takes its time

Answers = dict[int, Answer]


def layouts(setting: Setting) -> Iterator[Row]:
    """Tiny checkpoints as the tests write them: logits and greedy answers in float32."""
    sys.path.append(str(Path(__file__).parents[3] / "tests" / "support"))
    makers = {"demo": lambda folder: {"model_path": DEMO}, "full": _full, "LoRA": _lora, "released": _released}
    for name, make in makers.items():
        lacking = [module for module in NEEDED.get(name, ()) if importlib.util.find_spec(module) is None]
        if lacking:
            yield {"what": name, "left out": f"needs {', '.join(lacking)}"}
            continue
        with tempfile.TemporaryDirectory() as folder:
            yield measured(name, _against_the_cpu, make, Path(folder), setting.device)


def _full(folder: Path) -> dict:
    import tiny_layouts
    import weights

    tiny_layouts.write_full(folder / "full", "llava_v2xum", weights.sources()[1])
    return {"model_path": folder / "full"}


def _lora(folder: Path) -> dict:
    import tiny_layouts
    import weights

    base = tiny_layouts.write_base(folder / "base")
    tower = weights.sources()[1]
    tiny_layouts.write_lora(folder / "lora", base, str(folder / "base"), "llava_v2xum", tower)
    return {"model_path": folder / "lora", "model_base": folder / "base"}


def _released(folder: Path) -> dict:
    import tiny_layouts

    tiny_layouts.write_released(folder / "parts" / "released")
    return {"model_path": folder / "parts" / "released"}


def _against_the_cpu(make: Callable[[Path], dict], folder: Path, device: str) -> Row:
    checkpoint = make(folder)
    tokenizer, here, _ = load_pretrained(**checkpoint, device="cpu", dtype="float32")
    _, there, _ = load_pretrained(**checkpoint, device=device, dtype="float32")
    prompt = build_input_ids(tokenizer, query_for("both"))
    videos = [torch.randn(100, here.config.mm_hidden_size, generator=_seeded(number)) for number in range(3)]
    pairs = [(_logits(here, prompt, video), _logits(there, prompt, video)) for video in videos]
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    answers = [generate_answers(model, tokenizer, [prompt] * 3, videos, max_new_tokens=32) for model in (here, there)]
    equal = [one.token_ids for one in answers[0]] == [one.token_ids for one in answers[1]]
    right = equal and difference <= LARGEST_DIFFERENCE
    return {"largest difference of logits": difference, "same answers": equal, "right": right}


@torch.no_grad()
def _logits(model, prompt: Tensor, video: Tensor) -> Tensor:
    return model(prompt[None].to(model.device), videos=[video.to(model.device)]).logits.float().cpu()


def _seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def drafts(setting: Setting) -> Iterator[Row]:
    """The demo's answers to rendered clips: exactly the same in float32, and as often as may be in 16 bits."""
    asked, truths = None, {}
    kinds = {"drafts": False, "recorded passes with drafts": setting.backend}
    both = [(name, what) for what in kinds for name in ("float32", "bfloat16", "float16")]
    for name, what in both[:-1]:  # what is recorded is compiled first, which takes its time: not in float16 too
        tokenizer, model, encoder = load_pretrained(DEMO, device=setting.device, dtype=name)
        if asked is None:  # features of the first dtype are what all dtypes are asked about
            asked = _Asked(tokenizer, [encoder(_frames(number)).cpu() for number in range(setting.clips)], setting)
        exact = name == "float32"
        if name not in truths:
            truths[name] = asked.answers(model)
            if exact:
                yield measured("transformers' generate, float32", asked.by_transformers, model, truths[name])
        yield measured(f"{what}, {name}", asked.by_drafts, model, kinds[what], truths[name], exact)


def _frames(number: int) -> np.ndarray:
    clip = make_clip(SERIES, number)
    return draw_frames(clip, np.linspace(0, clip.total_frames - 1, 100).astype(int))


class _Asked:
    """Clips, and the instruction that asks for both summaries of each."""

    def __init__(self, tokenizer, features: list[Tensor], setting: Setting) -> None:
        self.tokenizer, self.features, self.setting = tokenizer, features, setting
        self.prompt = build_input_ids(tokenizer, query_for("both"))

    def answers(self, model, drafts: bool = False, compile: bool | str = False) -> Answers:
        drafter = drafter_kind(DEFAULT_DRAFTER).load(self.tokenizer, model.config.timeline, None) if drafts else None
        sizes = {"rows": self.setting.rows, "max_new_tokens": self.setting.longest}
        engine = Engine(model, self.tokenizer, drafter=drafter, compile=compile, **sizes)
        jobs = (Job(number, (self.prompt,), video) for number, video in enumerate(self.features))
        return {number: answers[0] for number, answers in engine.run(jobs)}

    def by_drafts(self, model, compile: bool | str, truth: Answers, exact: bool) -> Row:
        """All clips' answers with drafts."""
        return _compared(self.answers(model, drafts=True, compile=compile), truth, exact)

    def by_transformers(self, model, truth: Answers) -> Row:
        """The first clips' answers by `generate`."""
        some = self.features[:GREEDY_BY_TRANSFORMERS]
        settings = model, self.tokenizer, self.prompt
        found = [released_answer(*settings, video.to(model.device), self.setting.longest) for video in some]
        return _compared(dict(enumerate(found)), truth, exact=True)


def _compared(found: Answers, truth: Answers, exact: bool) -> Row:
    """Answers against those of one token a pass; importance where both have the same tokens."""
    same = [number for number in found if found[number].token_ids == truth[number].token_ids]
    pairs = [(found[number].importance, truth[number].importance) for number in same]
    differences = [float(np.abs(mine - true).max()) for mine, true in pairs if mine is not None and true is not None]
    row = {"answers": len(found), "same answers": len(same), "importance differs by": max(differences, default=0.0)}
    if exact:
        row["right"] = len(same) == len(found) and row["importance differs by"] <= IMPORTANCE
    return row


def quantized(setting: Setting) -> Iterator[Row]:
    """The demo in 8 and 4 bits: it loads, answers, and how many answers are those of 16 bits."""
    tokenizer, model, encoder = load_pretrained(DEMO, device=setting.device, dtype=setting.dtype)
    clips = range(min(setting.clips, GREEDY_BY_TRANSFORMERS))
    asked = _Asked(tokenizer, [encoder(_frames(number)).cpu() for number in clips], setting)
    truth = asked.answers(model)
    for bits in (8, 4):
        yield measured(f"{bits} bits", _answers_in, bits, asked, truth, setting)


def _answers_in(bits: int, asked: _Asked, truth: Answers, setting: Setting) -> Row:
    how = {"device": setting.device, "dtype": setting.dtype, f"load_{bits}bit": True}
    try:
        _, model, _ = load_pretrained(DEMO, **how)
    except V2XumError as error:
        if setting.device != "cpu":
            raise
        return {"not on this CPU": str(error)}  # bitsandbytes' kernels for AVX512-BF16 take no layers as narrow
    row = _compared(asked.answers(model), truth, exact=False)
    return {**row, "right": row["answers"] == len(truth)}
