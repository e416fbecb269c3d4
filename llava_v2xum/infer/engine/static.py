"""Passes of few fixed shapes: compiled, and on a GPU recorded once as CUDA graphs that are played from then on.

A pass of one row launches hundreds of kernels that take less time than their launches. A graph launches all at once,
but it repeats what was recorded: the same shapes, at the same places in memory. So every pass computes all rows of the
engine, at work or not, one of a few widths and a multiple of `cache.BLOCK` slots, over keys and values that are made
as long as answers can get. Of a layer, what lies before and behind attention is compiled; all layers share it, so a
width costs one compilation, however deep the model is.

Shapes: R rows of the engine, W ids of a row, K slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import LongTensor, Tensor

from ...core.errors import V2XumError
from . import cache as cache_module
from .cache import RowCache
from .decoder import Halves, after_attention, before_attention, run_block, weights_of
from .drafts import block_width
from .passes import Chosen, RaggedPass, own_places, padded
from .work import Row

WIDTHS = (1, 4, 8, 16, 32, 64)  # our choice, of a row's last token and its draft; each is compiled when it first comes
WARM_UPS = 3  # passes before one is recorded, as PyTorch's notes on CUDA graphs have it
MOST_COMPILATIONS = 256  # of one function; PyTorch leaves off at 8, without an error
OLDEST_TORCH = (2, 6)  # from here on layers with weights of their own share a compilation, and its limit has its name

Outputs = tuple[Tensor, Tensor]


def check_static(model) -> None:
    """Refuse a model that passes cannot be compiled for.

    Raises:
        V2XumError: if PyTorch is too old, or the weights lie on several devices or are quantized.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise V2XumError(f"compile: expected torch {oldest} or newer, got {torch.__version__}")
    devices = {str(weight.device) for _, weight in weights_of(model)}
    if len(devices) > 1:
        raise V2XumError(f"compile: expected the decoder on one device, got {', '.join(sorted(devices))}")
    for name, weight in weights_of(model):
        if not weight.is_floating_point():
            raise V2XumError(f"compile: expected weights of floating point, but {name} is {weight.dtype}: quantized")


@lru_cache
def compiled_halves(backend: str) -> Halves:
    """What a layer does on either side of attention, compiled for each shape that it meets."""
    settings = {"backend": backend, "dynamic": False}
    return Halves(torch.compile(before_attention, **settings), torch.compile(after_attention, **settings))


class StaticPass(RaggedPass):
    """See the module.

    Args:
        rows: R.
        backend: of torch.compile.
    """

    def __init__(
        self, model, cache: RowCache, digit_ids: Sequence[int], free_positions: float, rows: int, backend: str
    ) -> None:
        super().__init__(model, cache, digit_ids, free_positions)
        self.rows = rows
        self.halves = compiled_halves(backend)
        self._record = recorder_for(self.device)
        self._recorded: dict[tuple[int, int], _Recorded] = {}  # by W and K

    def make_room(self, positions: int) -> None:
        if positions + WIDTHS[-1] > self.cache.reserved:
            self.cache.reserve(positions + WIDTHS[-1])
            self._recorded.clear()  # keys and values have moved

    def lengths(self, chances: Sequence[Sequence[float]]) -> list[int]:
        drafts = [width - 1 for width in WIDTHS]
        return [block_width(chances, self._free(self.rows), drafts, self.rows)] * len(chances)

    def choose(self, slots: Sequence[int], rows: Sequence[Row], fed: Sequence[Sequence[int]]) -> Chosen:
        widest = max(map(len, fed))
        width = next(width for width in WIDTHS if width >= widest)
        used = -(-(max(row.length for row in rows) + width) // cache_module.BLOCK) * cache_module.BLOCK
        given = torch.zeros(self.rows, 1 + width, dtype=torch.long)  # a row not at work writes where nobody looks
        for slot, row, tokens in zip(slots, rows, fed):
            given[slot] = torch.tensor([row.length, *padded(tokens, width)])
        recorded = self._recorded.get((width, used)) or self._recording(given, used)
        recorded.inputs.copy_(given)
        chosen, digits = (made.cpu()[slots][own_places(fed, width)] for made in recorded.play())
        return chosen.tolist(), digits

    def _recording(self, given: LongTensor, used: int) -> _Recorded:
        """A pass of this shape; it has been run, which leaves in the cache what this pass will write."""
        inputs = given.to(self.device)

        def step() -> Outputs:
            hidden = self.llama.embed_tokens(inputs[:, 1:])
            slots = self.cache.reserved
            hidden = run_block(self.llama, hidden, inputs[:, 0], used, self.cache, slots, self.halves)
            logits = self.model.lm_head(hidden).float()
            return logits.argmax(dim=-1), logits.index_select(-1, self.digit_ids)

        with torch._dynamo.config.patch(recompile_limit=MOST_COMPILATIONS):
            step()
        self._recorded[inputs.shape[1] - 1, used] = made = _Recorded(inputs, self._record(step))
        return made


@dataclass(frozen=True)
class _Recorded:
    """A pass of one shape.

    Attributes:
        inputs: int64 [R, 1 + W], of each row the position of its first id, and its ids.
        play: gives the chosen ids [R, W] and the digits' logits [R, W, 10], which hold until a pass is played again.
    """

    inputs: LongTensor
    play: Callable[[], Outputs]


def recorder_for(device: torch.device) -> Callable[[Callable[[], Outputs]], Callable[[], Outputs]]:
    """What makes a pass that plays from one that runs; only CUDA has something to record."""
    return CudaGraphs(device) if device.type == "cuda" else lambda step: step


class CudaGraphs:
    """Records what a function does on a GPU; graphs share their memory, as no two play at the same time.

    Other threads may use the GPU while one is recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """What does the same again, and puts it where it was put when it was recorded."""
        with torch.cuda.device(self.device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UPS):
                    step()
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = step()

        def play() -> Outputs:
            graph.replay()
            return outputs

        return play
