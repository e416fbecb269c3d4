"""One run of an engine: rows that read prompts, check drafts and leave when their answer is finished.

Shapes: L positions that a row has to read, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic

import torch
from torch import Tensor

from .answers import Answer, answer_of
from .cache import RowCache
from .decoder import Segment, run_segments
from .drafts import draft
from .work import Job, Key, Row, Work, open_work

PREFILL_POSITIONS = 8192  # of the prompts in one pass: bounds its activations, and is enough to fill a GPU


class EngineRun(Generic[Key]):
    """Which row holds what, from the first job to the last.

    Args:
        engine: the `Engine` whose settings hold; its `idle` is kept up to date.
        source: jobs; None among them says that none is at hand yet.
    """

    def __init__(self, engine, source: Iterator[Job[Key] | None]) -> None:
        self.engine, self.stats = engine, engine.stats
        self.source: Iterator[Job[Key] | None] | None = source
        self.llama = engine.model.get_model()
        self.cache = RowCache(engine.rows)
        self.passes = engine.passes_over(self.cache)
        self.rows: list[Row[Key] | None] = [None] * engine.rows

    def advance(self) -> list[tuple[Key, list[Answer]]] | None:
        """Take new jobs, then read their prompts, or else check a draft for every row; None when all is done."""
        new = self._take()
        unread = {slot: row for slot, row in self._live().items() if not row.ids}
        if unread:
            with self.stats.timed("prefill"):
                self._prefill(new, unread)
        elif any(self.rows):
            self._decode()
        elif self.source is None:
            return None
        return self._finish()

    def _live(self) -> dict[int, Row[Key]]:
        """The rows that hold an answer in the making, by their slots."""
        return {slot: row for slot, row in enumerate(self.rows) if row is not None}

    def _take(self) -> list[Work[Key]]:
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
    def _prefill(self, new: Sequence[Work[Key]], unread: dict[int, Row[Key]]) -> None:
        """Read the prompts of rows that have no token yet: first what a job's prompts share, once, then the rest."""
        longest = max(row.prompt_positions for row in unread.values())
        self.passes.make_room(longest + self.engine.max_new_tokens)
        shared = [
            (work, [slot for slot, row in unread.items() if row.work is work]) for work in new if len(work.prefix)
        ]
        self._read({slots[0]: work.prefix for work, slots in shared})
        for work, slots in shared:
            self.cache.copy(slots[0], slots[1:])
            for slot in slots:
                unread[slot].length = len(work.prefix)
        self._first_tokens({slot: row.work.rests[row.number] for slot, row in unread.items()})

    def _first_tokens(self, rests: dict[int, Tensor]) -> None:
        """Read the embeddings [L, D] that rows still have to read, up to the first token of their answer."""
        read, live = self._read(rests), self._live()
        rows = [live[slot] for slot in read]
        chosen, digits = self.passes.choose_first(torch.stack(list(read.values())), rows)
        for slot, row, token, logits in zip(read, rows, chosen, digits):
            row.length += len(rests[slot])
            self._keep(row, [token], logits[None])

    def _read(self, embeds: dict[int, Tensor]) -> dict[int, Tensor]:
        """Pass embeddings [L, D] of rows through the decoder; the last hidden state [D] of each row."""
        last: dict[int, Tensor] = {}
        live = self._live()
        for slots in _batches(embeds):
            lengths = [len(embeds[slot]) for slot in slots]
            segments = [Segment(slot, live[slot].length, length) for slot, length in zip(slots, lengths)]
            read = torch.cat([embeds[slot] for slot in slots])
            last.update(zip(slots, run_segments(self.llama, read, segments, self.cache, ends_only=True)))
            self.stats.prefill_passes += 1
            self.stats.prefill_positions += sum(lengths)
        return last

    @torch.inference_mode()
    def _decode(self) -> None:
        """One pass: every row's last token and its draft; as much of the draft is kept as the model confirms."""
        if self.passes.in_front:
            self._close_ranks()
        at_work = self._live()
        slots, live = list(at_work), list(at_work.values())
        with self.stats.timed("draft"):
            drafts = self._drafts(live)
        with self.stats.timed("decode"):
            fed = [[row.ids[-1], *ids] for row, ids in zip(live, drafts)]
            chosen, digits = self.passes.choose(slots, live, fed)
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
        lengths = self.passes.lengths([chances for _, chances in drafted])
        return [ids[:length] for (ids, _), length in zip(drafted, lengths)]

    def _keep(self, row: Row, tokens: list[int], digits: Tensor) -> None:
        """Add tokens to a row, up to an end of sequence, to max_new_tokens, and to where a loop is certain."""
        eos = self.engine.tokenizer.eos_token_id
        count = tokens.index(eos) + 1 if eos in tokens else len(tokens)
        count = min(count, self.engine.max_new_tokens - len(row.ids))
        if self.engine.end_loops:
            rounds = (row.watch.add(token) for token in tokens[:count])
            place, row.loop = next(((place, found) for place, found in enumerate(rounds, 1) if found), (count, 0))
            count = place
        row.ids += tokens[:count]
        row.digits.append(digits[:count])
        self.stats.new_tokens += count

    def _finish(self) -> list[tuple[Key, list[Answer]]]:
        """Answers of the rows that have ended, their places to prompts that wait; returns the jobs that are done."""
        engine, done = self.engine, []
        for slot, row in enumerate(self.rows):
            if row is None or not row.ids:
                continue
            ended = row.ids[-1] == engine.tokenizer.eos_token_id
            if not ended and not row.loop and len(row.ids) < engine.max_new_tokens:
                continue
            work = row.work
            with self.stats.timed("finish"):
                timeline = engine.model.config.timeline
                digits = row.digit_logits()
                work.answers[row.number] = answer_of(row.ids, digits, engine.tokenizer, timeline, row.loop)
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
            last = max(self._live(), default=-1)
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
