"""Passes of fixed shapes, compiled and recorded: the same answers as greedy decoding, from few compilations."""

from __future__ import annotations

import contextlib
import inspect
import shutil

import greedy
import pytest
import torch
import weights
from greedy import LIMIT, VIDEOS, Drafts, assert_same, changes
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from llava_v2xum.infer import options
from llava_v2xum.infer.drafting import drafter_for
from llava_v2xum.infer.engine import Engine, Job, loop, static
from llava_v2xum.infer.engine import cache as cache_module
from llava_v2xum.infer.engine.static import WIDTHS, CudaGraphs, check_static

torch_version = tuple(int(part) for part in torch.__version__.split(".")[:2])
compiles = pytest.mark.skipif(torch_version < static.OLDEST_TORCH, reason="needs a newer torch")


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Each test begins as a new process does."""
    if torch_version >= static.OLDEST_TORCH:
        torch._dynamo.reset()
    static.compiled_halves.cache_clear()


@pytest.fixture(scope="module")
def tokenizer():
    return weights.tokenizer()


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return greedy.prompts(tokenizer)


@pytest.fixture(scope="module", params=[2, 1], ids=["a key head for each head", "a key head for all"])
def tiny(request):
    return greedy.tiny_world(request.param)


def right_drafts(truths) -> Drafts:
    return Drafts([answer.token_ids for row in truths for answer in row], lambda coming, limit: coming[:limit])


def jobs(prompts, videos=VIDEOS) -> list[Job]:
    return [Job(key, prompts, video) for key, video in enumerate(videos)]


def assert_answers(made: Engine, jobs: list[Job], truths) -> None:
    answered = dict(made.run(jobs))
    assert len(answered) == len(jobs)
    for key, answers in answered.items():
        assert_same(answers, truths[key])


SIZES: list[int] = []  # of what the backend "counting" was given, positions of a pass


@pytest.fixture(scope="module")
def counting() -> str:
    """A backend that compiles nothing."""

    def remember(module, inputs):
        SIZES.append(next(len(value) for value in inputs if value.dim() == 3))  # cosines or heads
        return module.forward

    torch._dynamo.register_backend(remember, name="counting")
    return "counting"


@pytest.fixture
def compilations(counting) -> list[int]:
    SIZES.clear()
    return SIZES


@compiles
@pytest.mark.parametrize("rows, backend", [(2, "eager"), (5, "aot_eager")])
def test_answers_are_those_of_greedy_generate(tiny, tokenizer, prompts, rows, backend):
    """More prompts than rows or fewer, right drafts and wrong ones."""
    model, truths = tiny
    everything = [answer.token_ids for row in truths for answer in row]
    ways = changes(model.config.vocab_size, tokenizer.eos_token_id)
    for name in ("right", "right, then wrong", "any"):
        drafter = Drafts(everything, ways[name])
        made = Engine(model, tokenizer, rows=rows, max_new_tokens=LIMIT, drafter=drafter, compile=backend)
        assert_answers(made, jobs(prompts), truths)


@compiles
def test_the_demo_answers_the_same(compilations):
    tokenizer, model, videos, prompts, truths = greedy.demo_world()
    drafter = drafter_for(tokenizer, model.config.timeline)
    made = Engine(model, tokenizer, rows=4, max_new_tokens=100, drafter=drafter, compile="counting")
    assert_answers(made, jobs(prompts, videos), truths)
    assert made.stats.new_tokens > 2 * made.stats.row_passes
    assert set(compilations) <= {4 * width for width in WIDTHS}


@compiles
def test_a_width_is_compiled_once_whatever_layers_lengths_and_runs_there_are(
    tokenizer, prompts, compilations, monkeypatch
):
    """Both halves of a layer for every width that comes, and nothing more when the cache grows or answers go on."""
    model, truths = greedy.tiny_world(2)
    for block, drafter in ((256, None), (256, right_drafts(truths)), (16, None)):
        monkeypatch.setattr(cache_module, "BLOCK", block)
        made = Engine(model, tokenizer, rows=3, max_new_tokens=LIMIT, drafter=drafter, compile="counting")
        assert_answers(made, jobs(prompts), truths)
    assert sorted(compilations) == sorted([*set(compilations)] * 2)
    assert {3} < set(compilations) <= {3 * width for width in WIDTHS}


@compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_what_inductor_compiles_answers_the_same(tokenizer, prompts, monkeypatch):
    model, truths = greedy.tiny_world(2)
    monkeypatch.setattr(static, "WIDTHS", (4,))
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)
    made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT, drafter=right_drafts(truths), compile=True)
    assert_answers(made, jobs(prompts[:1], VIDEOS[1:3]), [row[:1] for row in truths[1:3]])


@compiles
def test_a_video_of_nan_spoils_no_other(tokenizer, prompts):
    model, truths = greedy.tiny_world(2)
    made = Engine(model, tokenizer, rows=3, max_new_tokens=LIMIT, compile="eager")
    nan = Job("nan", prompts, torch.full_like(VIDEOS[0], torch.nan))
    answered = dict(made.run([nan, *jobs(prompts), nan]))
    for key, answers in enumerate(truths):
        assert_same(answered[key], answers)


# ------------------------------------------------------------------------------------------------- recorded passes


class Tape(TorchDispatchMode):
    """Does what a CUDA graph does: the same operations on the same memory, with nothing of Python in between."""

    def __init__(self) -> None:
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert operation is not torch.ops.aten._local_scalar_dense.default, "a value was read in the middle of a pass"
        made = operation(*args, **(kwargs or {}))
        self.done.append((operation, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        for operation, args, kwargs, made in self.done:
            for old, new in zip(tree_flatten(made)[0], tree_flatten(operation(*args, **kwargs))[0]):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def tapes(monkeypatch) -> list[Tape]:
    """Puts tapes in the place of CUDA's graphs, and a device that knows no streams in that of a GPU."""
    made: list[Tape] = []
    real = inspect.signature(torch.cuda.graph)

    class Stream:
        def wait_stream(self, other) -> None:
            assert isinstance(other, Stream)

    def graph(*args, **kwargs):
        assert real.bind(*args, **kwargs).arguments["capture_error_mode"] == "thread_local"
        return args[0]

    fakes = {
        "CUDAGraph": lambda: (made.append(Tape()), made[-1])[1],
        "graph": graph,
        "graph_pool_handle": lambda: (0, 1),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "device": lambda _: contextlib.nullcontext(),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(static, "recorder_for", CudaGraphs)
    # PyTorch compiles nothing while operations are watched
    monkeypatch.setattr(static, "compiled_halves", lambda backend: static.Halves())
    monkeypatch.setattr(static, "check_static", lambda model: None)
    return made


def test_passes_that_are_recorded_once_and_played_give_the_same_answers(tiny, tokenizer, prompts, tapes):
    model, truths = tiny
    made = Engine(model, tokenizer, rows=3, max_new_tokens=LIMIT, drafter=right_drafts(truths), compile=True)
    assert_answers(made, jobs(prompts), truths)
    assert 1 < len(tapes) < made.stats.passes / 2


def test_a_longer_prompt_moves_the_cache_and_passes_are_recorded_again(tokenizer, prompts, tapes, monkeypatch):
    model, truths = greedy.tiny_world(2)
    monkeypatch.setattr(cache_module, "BLOCK", 64)
    order = [2, 1, 0, 3]  # 5, 37, 100 and 80 frames
    made = Engine(model, tokenizer, rows=2, max_new_tokens=LIMIT, compile=True)
    answered = dict(made.run(Job(key, prompts[:2], VIDEOS[key]) for key in order))
    for key in order:
        assert_same(answered[key], truths[key][:2])
    assert len(tapes) < made.stats.passes


@compiles
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_graphs_give_the_same_answers(tokenizer, prompts):
    model, truths = greedy.tiny_world(2)
    try:
        made = Engine(model.cuda(), tokenizer, rows=3, max_new_tokens=LIMIT, drafter=right_drafts(truths), compile=True)
        assert_answers(made, jobs(prompts), truths)
    finally:
        model.cpu()


# -------------------------------------------------------------------------------------------- what cannot be compiled


@pytest.mark.pinned
def test_an_old_torch_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu124")
    with pytest.raises(ValueError, match=r"compile: expected torch 2.6 or newer, got 2.5.1\+cu124"):
        Engine(weights.video_model(), tokenizer, compile=True)
    Engine(weights.video_model(), tokenizer)


@compiles
def test_several_devices_and_quantized_weights_are_refused():
    model = weights.video_model()
    check_static(model)
    model.get_model().layers[1].to("meta")
    with pytest.raises(ValueError, match="compile: expected the decoder on one device, got cpu, meta"):
        check_static(model)
    model = weights.video_model()
    project = model.get_model().layers[0].self_attn.q_proj
    project.weight = torch.nn.Parameter(project.weight.data.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="layers.0.self_attn.q_proj.weight is torch.int8: quantized"):
        check_static(model)


# ------------------------------------------------------------------------------------------------- how it is asked for


@pytest.mark.parametrize("bits", ["--load-8bit", "--load-4bit"])
def test_the_command_refuses_to_compile_quantized_weights(bits, capsys):
    with pytest.raises(SystemExit):
        options.parse_arguments(["a.mp4", "--compile", bits])
    assert "--compile takes weights as they are" in capsys.readouterr().err
    assert options.parse_arguments(["a.mp4", "--compile"]).compile is True
    assert options.parse_arguments(["a.mp4"]).compile is False


@compiles
def test_a_summarizer_compiles_where_it_is_told_to(monkeypatch, compilations):
    from llava_v2xum.infer.answer_options import AnswerOptions
    from llava_v2xum.infer.summarizer import Summarizer

    monkeypatch.setattr(loop, "BACKEND", "counting")
    summarizer = Summarizer.from_pretrained(device="cpu")
    _, _, videos, prompts, truths = greedy.demo_world()
    for compile in (False, True):
        assert not compilations
        run = summarizer.runner(AnswerOptions(batch_size=2, max_new_tokens=100, compile=compile))
        ((_, answers),) = run([Job("a", prompts, videos[0])])
        assert_same(answers, truths[0])
    assert compilations
