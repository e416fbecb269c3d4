"""The engine: rows that read prompts, check drafts and leave when their answer is finished.

Shapes: L positions that a row has to read, D hidden size, Q positions of a pass, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..drafting import Drafter, worthwhile_lengths
from .answers import Answer, answer_of, digit_token_ids
from .cache import RowCache
from .decoder import Segment, check_decoder, run_block, run_segments
from .drafts import block_width, draft
from .stats import EngineStats
from .work import Job, Row, Work, open_work

MAX_DRAFT = {"cpu": 32, "gpu": 64}  # tokens; of these as many are checked as pay
# Positions that take as long as reading the weights once. CPU: measured with 12 layers of width 768 on one core; GPU:
# 7B in bf16 by an H200's peak figures, rounded up as a pass also has calls to make.
FREE_POSITIONS = {"cpu": 16, "gpu": 256}
ROW_POSITIONS = 4  # the same for one row's keys and values, at 600 positions
PREFILL_POSITIONS = 8192  # of the prompts in one pass: bounds its activations, and is enough to fill a GPU
ALIGNMENT = 64  # slots that attention over padded rows is given: efficient kernels want a multiple of 8


class Engine:
    """Answers jobs, several rows at a time.

    In float32 every answer is the one that greedy decoding of its prompt alone gives. In 16 bits a pass over other
    shapes may round otherwise, and a near tie between two tokens fall the other way.

    Args:
        model: a `LlavaV2XumForCausalLM`. Attention is PyTorch's own here, whichever the model was loaded with.
        tokenizer: the model's.
        rows: answers in the making at a time; the cache has room for so many.
        max_new_tokens: where an answer is cut off.
        drafter: proposes what comes next, or None for one token a pass. It learns every answer as it finishes.
        max_draft: tokens that are drafted for a row at most; None takes `MAX_DRAFT` of the device.
        padded: whether all rows of a pass are made as wide as the widest, for one call of attention in place of one
            for each row; None pads on a GPU, where calls cost more than positions.

    Attributes:
        stats: of all runs so far.
        idle: whether no row is at work, so that a source of jobs may as well wait for the next one.

    Raises:
        ValueError: if a number is out of range, or the decoder is none that `check_decoder` knows.
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
    ) -> None:
        for name, number in {"rows": rows, "max_new_tokens": max_new_tokens}.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if max_draft is not None and max_draft < 0:
            raise ValueError(f"max_draft must be at least 0, got {max_draft}")
        check_decoder(model.get_model())
        self.model = model
        self.tokenizer = tokenizer
        self.rows = rows
        self.max_new_tokens = max_new_tokens
        self.drafter = drafter
        self.device = model.get_input_embeddings().weight.device
        kind = "cpu" if self.device.type == "cpu" else "gpu"
        self.padded = kind == "gpu" if padded is None else padded
        self.max_draft = MAX_DRAFT[kind] if max_draft is None else max_draft
        self.free_positions = FREE_POSITIONS[kind]
        self.stats = EngineStats()
        self.idle = True
        self.digit_ids = digit_token_ids(tokenizer)

    def run(self, jobs: Iterable[Job | None]) -> Iterator[tuple[Hashable, list[Answer]]]:
        """Each job's key and its answers, one for each prompt in their order; jobs come in the order they finish.

        Args:
            jobs: asked for the next one only when a row is free. None among them says that none is at hand yet; rows
                that are at work go on, and it is asked again after a pass. A source that has none while the engine is
                `idle` should wait instead.

        Raises:
            ValueError: naming the job, if it cannot be worked on. The jobs that were at work are lost; the engine can
                be used again. What the iterator raises goes through in the same way.
        """
        run = _Run(self, iter(jobs))
        try:
            while True:
                done = run.advance()
                if done is None:
                    return
                yield from done
        finally:
            self.idle = True


class _Run:
    """The state of one run: which row holds what."""

    def __init__(self, engine: Engine, source: Iterator[Job | None]) -> None:
        self.engine, self.stats = engine, engine.stats
        self.source: Iterator[Job | None] | None = source
        self.llama = engine.model.get_model()
        self.cache = RowCache(engine.rows)
        self.rows: list[Row | None] = [None] * engine.rows

    def advance(self) -> list[tuple[Hashable, list[Answer]]] | None:
        """Take new jobs, then read their prompts, or else check a draft for every row; None when all is done."""
        new = self._take()
        unread = [slot for slot, row in enumerate(self.rows) if row is not None and not row.ids]
        if unread:
            with self.stats.timed("prefill"):
                self._prefill(new, unread)
        elif any(self.rows):
            self._decode()
        elif self.source is None:
            return None
        return self._finish()

    def _take(self) -> list[Work]:
        """Jobs into free rows. A job with more prompts than there are rows lets the others wait."""
        new = []
        while self.source is not None and None in self.rows:
            self.engine.idle = not any(self.rows)
            try:
                job = next(self.source)
            except StopIteration:
                self.source = None
                break
            if job is None:
                break
            with self.stats.timed("embed"):
                work = open_work(self.engine.model, job, self.engine.device)
            while work.waiting and None in self.rows:
                self.rows[self.rows.index(None)] = Row(work, work.waiting.popleft())
            new.append(work)
        return new

    @torch.inference_mode()
    def _prefill(self, new: Sequence[Work], unread: Sequence[int]) -> None:
        """Read the prompts of rows that have no token yet: first what a job's prompts share, once, then the rest."""
        shared = [(work, [slot for slot in unread if self.rows[slot].work is work]) for work in new if len(work.prefix)]
        self._read({slots[0]: work.prefix for work, slots in shared})
        for work, slots in shared:
            self.cache.copy(slots[0], slots[1:])
            for slot in slots:
                self.rows[slot].length = len(work.prefix)
        self._first_tokens({slot: self.rows[slot].work.rests[self.rows[slot].number] for slot in unread})

    def _first_tokens(self, rests: dict[int, Tensor]) -> None:
        """Read the embeddings [L, D] that rows still have to read, up to the first token of their answer."""
        for slot, logits in self._read(rests).items():
            row = self.rows[slot]
            row.length += len(rests[slot])
            self._keep(row, [int(logits.argmax())], logits[None, self.engine.digit_ids].cpu())

    def _read(self, embeds: dict[int, Tensor]) -> dict[int, Tensor]:
        """Pass embeddings [L, D] of rows through the decoder; the logits [V] behind the last of each row."""
        last: dict[int, Tensor] = {}
        for slots in _batches(embeds):
            lengths = [len(embeds[slot]) for slot in slots]
            segments = [Segment(slot, self.rows[slot].length, length) for slot, length in zip(slots, lengths)]
            read = torch.cat([embeds[slot] for slot in slots])
            hidden = run_segments(self.llama, read, segments, self.cache, ends_only=True)
            last.update(zip(slots, self.engine.model.lm_head(hidden).float()))
            self.stats.prefill_passes += 1
            self.stats.prefill_positions += sum(lengths)
        return last

    @torch.inference_mode()
    def _decode(self) -> None:
        """One pass: every row's last token and its draft; as much of the draft is kept as the model confirms."""
        if self.engine.padded:
            self._close_ranks()
        slots = [slot for slot, row in enumerate(self.rows) if row is not None]
        live = [self.rows[slot] for slot in slots]
        with self.stats.timed("draft"):
            drafts = self._drafts(live)
        with self.stats.timed("decode"):
            fed = [[row.ids[-1], *ids] for row, ids in zip(live, drafts)]
            logits = self._padded_pass(live, fed) if self.engine.padded else self._pass(slots, live, fed)
            chosen, digits = logits.argmax(dim=-1).tolist(), logits[:, self.engine.digit_ids].cpu()
        self.stats.passes += 1
        self.stats.row_passes += len(live)
        place = 0
        for row, ids in zip(live, drafts):
            tokens = chosen[place : place + len(ids) + 1]
            right = next((n for n, (mine, true) in enumerate(zip(ids, tokens)) if mine != true), len(ids))
            row.length += right + 1
            row.trust.judge(right, len(ids))
            self.stats.drafted += len(ids)
            self.stats.accepted += right
            self._keep(row, tokens[: right + 1], digits[place : place + right + 1])
            place += len(ids) + 1

    def _pass(self, slots: Sequence[int], live: Sequence[Row], fed: Sequence[Sequence[int]]) -> Tensor:
        """Logits [Q, V], float32, of the ids that each row is fed, laid end to end."""
        ids = torch.tensor([token for row in fed for token in row], device=self.engine.device)
        segments = [Segment(slot, row.length, len(tokens)) for slot, row, tokens in zip(slots, live, fed)]
        hidden = run_segments(self.llama, self.llama.embed_tokens(ids), segments, self.cache)
        return self.engine.model.lm_head(hidden).float()

    def _padded_pass(self, live: Sequence[Row], fed: Sequence[Sequence[int]]) -> Tensor:
        """The same with every row as wide as the widest; what stands behind a row's own ids is not looked at."""
        device, width = self.engine.device, max(map(len, fed))
        ids = torch.tensor([[*tokens, *tokens[:1] * (width - len(tokens))] for tokens in fed], device=device)
        starts = torch.tensor([row.length for row in live], device=device)
        used = -(-(max(row.length for row in live) + width) // ALIGNMENT) * ALIGNMENT
        hidden = run_block(self.llama, self.llama.embed_tokens(ids), starts, used, self.cache)
        own = torch.tensor([[place < len(tokens) for place in range(width)] for tokens in fed], device=hidden.device)
        return self.engine.model.lm_head(hidden[own]).float()

    def _drafts(self, live: Sequence[Row]) -> list[list[int]]:
        """For every row what may come next, at most as much as pays in a pass."""
        engine = self.engine
        if engine.drafter is None or engine.max_draft == 0:
            return [[] for _ in live]
        limits = [min(engine.max_draft, engine.max_new_tokens - len(row.ids) - 1) for row in live]
        vocabulary, eos = engine.model.config.vocab_size, engine.tokenizer.eos_token_id
        drafted = [
            draft(engine.drafter, row.ids, limit, row.trust, vocabulary, eos) for row, limit in zip(live, limits)
        ]
        chances = [chances for _, chances in drafted]
        free = engine.free_positions + ROW_POSITIONS * len(live)
        if engine.padded:
            lengths = [block_width(chances, free)] * len(live)
        else:
            lengths = worthwhile_lengths(chances, free)
        return [ids[:length] for (ids, _), length in zip(drafted, lengths)]

    def _keep(self, row: Row, tokens: list[int], digits: Tensor) -> None:
        """Add tokens to a row, up to an end of sequence and to max_new_tokens."""
        eos = self.engine.tokenizer.eos_token_id
        count = tokens.index(eos) + 1 if eos in tokens else len(tokens)
        count = min(count, self.engine.max_new_tokens - len(row.ids))
        row.ids += tokens[:count]
        row.digits.append(digits[:count])
        self.stats.new_tokens += count

    def _finish(self) -> list[tuple[Hashable, list[Answer]]]:
        """Answers of the rows that have ended, their places to prompts that wait; returns the jobs that are done."""
        engine, done = self.engine, []
        for slot, row in enumerate(self.rows):
            if row is None or not row.ids:
                continue
            ended = row.ids[-1] == engine.tokenizer.eos_token_id
            if not ended and len(row.ids) < engine.max_new_tokens:
                continue
            work = row.work
            with self.stats.timed("finish"):
                timeline = engine.model.config.timeline
                work.answers[row.number] = answer_of(row.ids, row.digit_logits(), engine.tokenizer, timeline)
                if engine.drafter is not None:
                    engine.drafter.learn(row.ids)
            self.stats.answers += 1
            self.rows[slot] = Row(work, work.waiting.popleft(), len(work.prefix)) if work.waiting else None
            if work.done:
                done.append((work.key, [work.answers[number] for number in range(len(work.rests))]))
        return done

    def _close_ranks(self) -> None:
        """Move rows from the end into free places, so that those at work are the first ones of the cache."""
        for slot in range(len(self.rows)):
            if self.rows[slot] is not None:
                continue
            last = max((other for other, row in enumerate(self.rows) if row is not None), default=-1)
            if last < slot:
                return
            self.cache.copy(last, [slot])
            self.rows[slot], self.rows[last] = self.rows[last], None


def _batches(embeds: dict[int, Tensor]) -> Iterator[list[int]]:
    """Rows that are read in one pass."""
    batch: list[int] = []
    for slot in embeds:
        if batch and sum(len(embeds[other]) for other in (*batch, slot)) > PREFILL_POSITIONS:
            yield batch
            batch = []
        batch.append(slot)
    if batch:
        yield batch
