"""Greedy answers about held-out videos by the model in training, scored against their labels.

They are made by the engine of inference and read by the parser that reads a model's answers, so that what is told here
is what `python -m llava_v2xum.infer` would show.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import LongTensor

from ...core.answers import parse_answer
from ...core.errors import V2XumError
from ...core.scores import plain_tokens, rouge_l, set_f1
from ...core.summary import Summary
from ...core.tasks import VIDEO_TOKEN
from ...core.timeline import Timeline
from ...data.dataset import VideoDataset
from ...features.upstream import IGNORE_INDEX
from ...infer.drafting import DEFAULT_DRAFTER, load_drafter
from ...infer.engine import Answer, Engine, Job
from ...media.figures import evenly_chosen
from ..flags import UsageError
from .means import Means, asked, share_of

logger = logging.getLogger(__name__)

# In the log, each over all answers and, as `val_f1_both` and so on, by task; the first three are fractions. F1 is that
# of the cited frames, of labels that cite some; the parse rate the share of answers that end by themselves and are read
# without a problem; ROUGE-L that of the text, of labels that have one.
VAL_F1, PARSE_RATE, ROUGE_L, ANSWER_TOKENS = "val_f1", "val_parse_rate", "val_rouge_l", "val_answer_tokens"
FIGURES = (VAL_F1, PARSE_RATE, ROUGE_L, ANSWER_TOKENS)
_ROWS = 8  # answers in the making at a time, as of inference
_TIMES_THE_LABEL = 2  # our choice: what is longer than the longest label by so much is wrong however it goes on


@dataclass(frozen=True)
class Question:
    """One held-out entry to be answered.

    Attributes:
        position: in the data set.
        task: that is asked for.
        prompt: int64 [S], the ids up to the answer, as they were learnt.
        label: the answer that was to be learnt.
        tokens: of the label, end of sequence included.
    """

    position: int
    task: str
    prompt: LongTensor
    label: Summary
    tokens: int


class AnswerValidation:
    """Answers a fixed part of the held-out entries, and scores the answers.

    Args:
        trainer: the run's, whose `eval_dataset` has the entries.
        most: how many are answered, in equal parts of each task; evenly spaced in the order of their files.

    Raises:
        UsageError: naming `--val_answers`, if the engine refuses the decoder.
    """

    def __init__(self, trainer, most: int) -> None:
        self.trainer = trainer
        self.dataset: VideoDataset = trainer.eval_dataset
        self.timeline: Timeline = trainer.model.config.timeline
        self.tokenizer = self.dataset.tokenizer.tokenizer
        self.questions = list(questions_of(self.dataset, self.timeline, most))
        if not self.questions:
            logger.warning("--val_data_path: no entry asks for a summary of one video: validation is by the loss alone")
        self.tasks = list(dict.fromkeys(one.task for one in self.questions))
        self.drafter = load_drafter(DEFAULT_DRAFTER, self.tokenizer, self.timeline)
        try:
            self._engine()
        except V2XumError as error:
            raise UsageError(f"--val_answers {most}: {error}; --val_answers 0 validates by the loss alone") from error

    @property
    def rising(self) -> list[str]:
        """The names of the figures that there will be and that rise as answers get better."""
        found = [name for one in self.questions for figure in _rising(one) for name in (figure, f"{figure}_{one.task}")]
        return list(dict.fromkeys(found))

    def scores_by_task(self) -> dict[str, float]:
        """The means of `FIGURES`, over all answers and by task."""
        share = share_of(self.trainer)
        means = Means(FIGURES, self.tasks)
        of_here = dict(enumerate(self.questions[share.first :: share.processes]))
        with asked(self.trainer):
            jobs = (
                Job(number, (one.prompt,), self.dataset.media_of(one.position)[0][0])
                for number, one in of_here.items()
            )
            for number, (answer,) in self._engine().run(jobs):
                for figure, value in score(answer, of_here[number], self.timeline):
                    means.add(figure, of_here[number].task, value)
        return means.of_all(self.trainer, share)

    def _engine(self) -> Engine:
        """One for a validation, whose cache is let go after it; what its drafter has learnt stays."""
        longest = max((one.tokens for one in self.questions), default=1)
        before = max((self.dataset.lengths[one.position] - one.tokens for one in self.questions), default=0)
        # Not beyond the positions that the decoder has tables for: transformers 4.37 would make longer ones while
        # answering, which no gradient can be taken through.
        room = self.trainer.model.config.max_position_embeddings - before
        most = max(longest, min(_TIMES_THE_LABEL * longest, room))
        return Engine(self.trainer.model, self.tokenizer, rows=_ROWS, max_new_tokens=most, drafter=self.drafter)


def questions_of(dataset: VideoDataset, timeline: Timeline, most: int) -> Iterator[Question]:
    """The entries to answer: of those that ask for a summary of one video, all N frames shown, the first turn."""
    of_task: dict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(dataset.entries):
        task = entry.tasks[0]
        if task is not None and entry.frame_indices == (None,) and VIDEO_TOKEN in entry.turns[0]["value"]:
            of_task[task].append(position)
    for number, (task, positions) in enumerate(sorted(of_task.items())):
        share = (most + len(of_task) - 1 - number) // len(of_task)  # what does not go up goes to the first tasks
        for position in evenly_chosen(positions, share):
            ids, labels = dataset.text_of(position)
            learned = (labels != IGNORE_INDEX).tolist()
            start = learned.index(True)
            stop = learned.index(False, start) if False in learned[start:] else len(learned)
            label = dataset.entries[position].turns[1]["value"]
            summary = parse_answer(label, timeline.num_frames, grammar=timeline.citations)
            yield Question(position, task, ids[:start], summary, stop - start)


def score(answer: Answer, question: Question, timeline: Timeline) -> Iterator[tuple[str, float]]:
    """The figures of one answer by name: see `FIGURES`."""
    said, meant = parse_answer(answer.text, timeline.num_frames, question.task, timeline.citations), question.label
    values = {
        VAL_F1: lambda: set_f1(_mask(said, timeline), _mask(meant, timeline)),
        PARSE_RATE: lambda: float(answer.finished and not said.problems),
        ROUGE_L: lambda: rouge_l(plain_tokens(said.text), [plain_tokens(meant.text)]),
    }
    for figure in _rising(question):
        yield figure, values[figure]()
    yield ANSWER_TOKENS, len(answer.token_ids)


def _rising(question: Question) -> list[str]:
    """The figures that an answer to it has, of those that rise as answers get better."""
    label = question.label
    return [*([VAL_F1] if label.frames else []), PARSE_RATE, *([ROUGE_L] if label.text else [])]


def _mask(summary: Summary, timeline: Timeline) -> np.ndarray:
    """bool [N]: the frames that it cites."""
    cited = np.zeros(timeline.num_frames, dtype=bool)
    cited[list(summary.frames)] = True
    return cited
