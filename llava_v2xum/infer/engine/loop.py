"""The engine: how answers are made, whatever the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...core.errors import V2XumError
from ..drafting import Drafter
from .answers import Answer, digit_token_ids
from .cache import RowCache
from .decoder import check_decoder
from .engine_run import EngineRun
from .passes import PaddedPass, RaggedPass
from .sampling import Sampler
from .static import StaticPass, check_static
from .stats import EngineStats
from .work import Job, Key

MAX_DRAFT = {"cpu": 32, "gpu": 64}  # tokens; of these as many are checked as pay
# Positions that take as long as reading the weights once. CPU: measured with 12 layers of width 768 on one core; GPU:
# 7B in bf16 by an H200's peak figures, rounded up as a pass also has calls to make.
FREE_POSITIONS = {"cpu": 16, "gpu": 256}
BACKEND = "inductor"  # torch.compile's own choice


class Engine:
    """Answers jobs, several rows at a time.

    In float32 every answer is the one that decoding of its prompt alone, a token a pass, gives. In 16 bits a pass over
    other shapes may round otherwise, and a near tie between two tokens fall the other way.

    Args:
        model: a `LlavaV2XumForCausalLM`. Attention is PyTorch's own here, whichever the model was loaded with.
        tokenizer: the model's.
        rows: answers in the making at a time; the cache has room for so many.
        max_new_tokens: where an answer is cut off.
        drafter: proposes what comes next, or None for one token a pass. It learns every answer as it finishes.
        max_draft: tokens that are drafted for a row at most; None takes `MAX_DRAFT` of the device.
        padded: whether all rows of a pass are made as wide as the widest, for one call of attention in place of one
            for each row; None pads on a GPU, where calls cost more than positions.
        compile: whether passes are of few fixed shapes, compiled and on CUDA recorded as graphs (`static.py`), which
            takes some seconds for each shape when it first comes; `padded` has no say then. A name is a backend of
            torch.compile.
        temperature: 0 is greedy; above it answers are sampled (`sampling.py`), each by its job's seed.
        end_loops: whether an answer ends where it certainly goes round in circles (`loops.py`), with the tokens that it
            has up to there. Sampled answers do not: chance can break any loop.

    Attributes:
        stats: of all runs so far.
        idle: whether no row is at work, so that a source of jobs may as well wait for the next one.

    Raises:
        V2XumError: if a number is out of range, the decoder is none that `check_decoder` knows, `check_static`
            refuses to compile it, or compiled passes are to sample.
    """

    def __init__(
        self,
        model,
        tokenizer,
        *,
        rows: int = 8,
        max_new_tokens: int = 1024,
        drafter: Drafter | None = None,
        max_draft: int | None = None,
        padded: bool | None = None,
        compile: bool | str = False,
        temperature: float = 0.0,
        end_loops: bool = True,
    ) -> None:
        for name, number in {"rows": rows, "max_new_tokens": max_new_tokens}.items():
            if number < 1:
                raise V2XumError(f"{name} must be at least 1, got {number}")
        if max_draft is not None and max_draft < 0:
            raise V2XumError(f"max_draft must be at least 0, got {max_draft}")
        check_decoder(model)
        if compile:
            check_static(model)
            if temperature:
                raise V2XumError(f"compile: compiled passes are greedy, expected temperature 0, got {temperature}")
        self.sampler = Sampler(temperature) if temperature else None
        self.model = model
        self.tokenizer = tokenizer
        self.rows = rows
        self.max_new_tokens = max_new_tokens
        self.drafter = drafter
        self.device = model.get_input_embeddings().weight.device
        kind = "cpu" if self.device.type == "cpu" else "gpu"
        self.padded = kind == "gpu" if padded is None else padded
        self.end_loops = end_loops and not temperature
        self.backend = BACKEND if compile is True else compile or None
        self.max_draft = MAX_DRAFT[kind] if max_draft is None else max_draft
        self.free_positions = FREE_POSITIONS[kind]
        self.stats = EngineStats()
        self.idle = True
        self.digit_ids = digit_token_ids(tokenizer)

    def passes_over(self, cache: RowCache) -> RaggedPass:
        """What computes passes over the rows of a cache."""
        settings = self.model, cache, self.digit_ids, self.free_positions
        if self.backend is not None:
            return StaticPass(*settings, self.rows, self.backend)
        return (PaddedPass if self.padded else RaggedPass)(*settings, self.sampler)

    def run(self, jobs: Iterable[Job[Key] | None]) -> Iterator[tuple[Key, list[Answer]]]:
        """Each job's key and its answers, one for each prompt in their order; jobs come in the order they finish.

        Args:
            jobs: asked for the next one only when a row is free. None among them says that none is at hand yet; rows
                that are at work go on, and it is asked again after a pass. A source that has none while the engine is
                `idle` should wait instead.

        Raises:
            V2XumError: naming the job, if it cannot be worked on. The jobs that were at work are lost; the engine can
                be used again. What the iterator raises goes through in the same way.
        """
        run = EngineRun(self, iter(jobs))
        try:
            while True:
                done = run.advance()
                if done is None:
                    return
                yield from done
        finally:
            self.idle = True
