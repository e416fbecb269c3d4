"""An entry of instruction JSON -> what the data set needs of it, or the reason why it cannot be learnt from.

An entry is LLaVA's, of a still image or of text alone, or Instruct-V2Xum's, with four optional keys of this project:

    {"id": "v_1", "conversations": [{"from": "human", "value": "<video>\\n..."}, {"from": "gpt", "value": "..."}],
     "meta": {"duration": 63.0, "token": {"<f0>": 5.0, ...}},     seconds of the `<fK>` in its turns
     "num_frames": 100,                                           N of the indexes in its answers
     "frame_sampling": "linspace",                                the rule they count by; without it "linspace"
     "videos": ["v_1", "v_2"],                                    for several `<video>`; without it the id
     "frame_indices": [0, 4, 8]}                                  show only these frames (a list for each video)

Other keys are left alone. LLaVA's has one still image, a file in the image folder, and one `<image>` for it:

    {"id": "1", "image": "coco/train2017/1.jpg", "conversations": [{"from": "human", "value": "<image>\\nhi"}, ...]}
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from ..core.citations import FRAME_TOKEN
from ..core.clock import Clocks
from ..core.errors import V2XumError
from ..core.sampling import LINSPACE, SAMPLING_KEY
from ..core.tasks import VIDEO_TOKEN
from ..core.timeline import Timeline
from ..features.upstream import DEFAULT_IMAGE_TOKEN
from ..model.tokens import PieceCache, check_conversation, locate_answers
from .answer_checks import KINDS, REFUSE, Finding, check_kinds, findings_in, task_asked
from .frame_sources import FrameSource, ImageFiles

_ROUNDING_SECONDS = 1e-6  # published durations such as 161.07999999999998 end before their own 161.08


class EntryError(V2XumError):
    """Why an entry cannot be learnt from.

    Args:
        kind: a word or two, to count by.
        reason: what was expected and what came.
        task: that its answer is for, where it is the answer's fault.
    """

    def __init__(self, kind: str, reason: str, task: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.task = task


@dataclass(frozen=True)
class Entry:
    """An entry that has passed every check.

    Args:
        id: as in its file.
        turns: the conversation, `<fK>` replaced by the indexes of their seconds.
        videos: an id for each `<video>`.
        frame_indices: for each video the indexes of the frames shown, or None for all N.
        length: positions in the decoder, of text, frames and image.
        image: the file of its still image, if it has one; it then has no video.
        warnings: what was found in its answers, and is let pass.
        learned: tokens of its answers, end of sequence included.
    """

    id: str
    turns: list[dict[str, str]]
    videos: tuple[str, ...]
    frame_indices: tuple[tuple[int, ...] | None, ...]
    length: int
    image: str | None = None
    warnings: tuple[Finding, ...] = ()
    learned: int = 0

    @property
    def tasks(self) -> tuple[str | None, ...]:
        """Of each of its questions the task, None for one that asks for no summary."""
        return tuple(task_asked(turn["value"]) for turn in self.turns[::2])


@dataclass(frozen=True)
class EntryChecker:
    """What entries are checked against.

    Args:
        tokenizer: the model's.
        max_length: the most positions that an entry with its frames may take.
        timeline: of the model.
        frame_positions: k + m, the positions that one frame takes.
        source: where the videos come from.
        conversation: a name in LLaVA's `conv_templates`.
        clocks: tell the index of a `<fK>`'s second, and afterwards what must be said of that.
        images: where still images come from; None for a run without any.
        damaged: videos that cannot be used (`damage.find_damaged`), and why.
        warn_only: kinds of findings in answers (`answer_checks.KINDS`) that are let pass, whatever their default.

    Raises:
        V2XumError: if LLaVA has no such conversation, or one whose pictures we do not mark as it does; if there is no
            such kind.
    """

    tokenizer: PieceCache
    max_length: int
    timeline: Timeline
    frame_positions: int
    source: FrameSource
    conversation: str = "v1"
    clocks: Clocks = field(default_factory=Clocks)
    images: ImageFiles | None = None
    damaged: dict[str, str] = field(default_factory=dict)
    warn_only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_conversation(self.conversation)
        check_kinds(self.warn_only)

    def check(self, entry: dict) -> Entry:
        """The entry as the data set needs it.

        Raises:
            EntryError: for the first thing that is wrong with it.
        """
        entry_id = _check_form(entry)
        image = _image_of(entry)
        if image is not None:
            return self._check_image(entry_id, image, entry["conversations"])
        found = entry.get("num_frames", self.timeline.num_frames)
        if found != self.timeline.num_frames:
            raise EntryError(
                "num_frames",
                f"written for num_frames {found!r}, the model has {self.timeline.num_frames}: convert it again",
            )
        rule = entry.get(SAMPLING_KEY, LINSPACE if "num_frames" in entry else self.timeline.rule)
        if rule != self.timeline.rule:
            raise EntryError(
                SAMPLING_KEY,
                f"written for {SAMPLING_KEY} {rule!r}, the model has {self.timeline.rule!r}: convert it again",
            )
        videos = _videos_of(entry, entry_id)
        frame_indices = _frame_indices_of(entry, len(videos), self.timeline.num_frames)
        for video in videos:
            problem = self.source.problem(video)
            if problem is not None:
                raise EntryError("missing video", problem)
            if video in self.damaged:
                raise EntryError("damaged video", self.damaged[video])
        turns = with_frame_indexes(entry, self.timeline, self.clocks)
        frames = sum(self.timeline.num_frames if shown is None else len(shown) for shown in frame_indices)
        length, learned = self._length(turns, len(videos), frames * self.frame_positions, f"{frames} frames")
        found = self._let_pass(turns, len(videos))
        return Entry(entry_id, turns, videos, frame_indices, length, None, found, learned)

    def _let_pass(self, turns: list[dict[str, str]], videos: int) -> tuple[Finding, ...]:
        """What is found in the answers, if all of it may pass."""
        found = tuple(findings_in(turns, videos, self.timeline))
        for one in found:
            if KINDS[one.kind].default == REFUSE and one.kind not in self.warn_only:
                raise EntryError(one.kind, one.reason, one.task)
        return found

    def _check_image(self, entry_id: str, image: str, turns: list[dict[str, str]]) -> Entry:
        if self.images is None:
            raise EntryError("missing image", f"no --image_folder came for {image!r}")
        problem = self.images.problem(image)
        if problem is not None:
            raise EntryError("missing image", problem)
        length, learned = self._length(turns, 1, self.images.positions, "its image")
        return Entry(entry_id, turns, (), (), length, image, self._let_pass(turns, 0), learned)

    def _length(self, turns: list[dict[str, str]], places: int, positions: int, of: str) -> tuple[int, int]:
        """Positions of the text and of what stands at its placeholders, and learned tokens; refuses too long ones."""
        try:
            input_ids, answers = locate_answers(turns, self.tokenizer, self.conversation)
        except V2XumError as error:
            raise EntryError("conversation", str(error)) from error
        text = len(input_ids) - places
        length = text + positions
        if length > self.max_length:  # LLaVA would cut the end of the answer without a word
            raise EntryError(
                "too long",
                f"its {text} tokens of text and {of} take {length} positions, expected at most "
                f"{self.max_length} (--model_max_length)",
            )
        return length, sum(stop - start for start, stop in answers)


def _check_form(entry: dict) -> str:
    """The entry's id; refuses what has not the form of an entry."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), (str, int)):
        raise EntryError("form", "expected an object with an id")
    turns = entry.get("conversations")
    whole = isinstance(turns, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in turns
    )
    if not whole:
        raise EntryError("form", "expected conversations, a list of turns with from and value")
    return str(entry["id"])


def _image_of(entry: dict) -> str | None:
    """The file of the entry's still image, or None for one of a video or of text alone."""
    image = entry.get("image")
    places = sum(turn["value"].count(DEFAULT_IMAGE_TOKEN) for turn in entry["conversations"])
    if image is None and not places:
        return None
    if not isinstance(image, str) or places != 1:
        raise EntryError(
            "image", f"expected one file (key 'image') for one {DEFAULT_IMAGE_TOKEN}, got {image!r} for {places}"
        )
    if any(VIDEO_TOKEN in turn["value"] for turn in entry["conversations"]):
        raise EntryError("image", f"expected an image or a video, got {DEFAULT_IMAGE_TOKEN} and {VIDEO_TOKEN}")
    return image


def with_frame_indexes(entry: dict, timeline: Timeline, clocks: Clocks | None = None) -> list[dict[str, str]]:
    """The entry's conversation with each `<fK>` replaced by the index of its second, in the brackets of the timeline.

    Args:
        entry: an entry of Instruct-V2Xum's JSON; one without `meta` is taken as it is.
        clocks: of the videos; None where no more than their mean rate is known.

    Raises:
        EntryError: if a `<fK>` has no second or the second lies outside the video.
    """
    clocks = clocks or Clocks()
    meta = entry.get("meta") or {}
    seconds = meta.get("token") or {} if isinstance(meta, dict) else None
    if not isinstance(seconds, dict):
        raise EntryError("timestamps", "expected meta with token, the seconds of its <fK>")
    videos, citations = entry.get("videos") or [entry.get("id")], {}
    video_id = str(videos[0]) if isinstance(videos, list) else None
    for token, second in seconds.items():
        try:
            second, duration = _number(second), _number(meta.get("duration"))
            if duration < second <= duration + _ROUNDING_SECONDS:
                second = duration
            citations[token] = timeline.cite(clocks.index_at(timeline, second, duration, video_id))
        except V2XumError as error:
            raise EntryError("timestamps", f"{token}: {error}") from error

    def cite(match: re.Match) -> str:
        if match.group() not in citations:
            raise EntryError("timestamps", f"{match.group()} has no second in meta.token")
        return citations[match.group()]

    return [
        {"from": turn["from"], "value": FRAME_TOKEN.sub(cite, timeline.citations.adopt(turn["value"]))}
        for turn in entry["conversations"]
    ]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise V2XumError(f"expected a second and a duration, finite numbers, got {value!r}")
    return value


def named_videos(entry: object) -> list[str]:
    """The videos that an entry, good or bad, asks for."""
    try:
        return [] if not isinstance(entry, dict) else list(_videos_of(entry, _check_form(entry)))
    except EntryError:
        return []


def _videos_of(entry: dict, entry_id: str) -> tuple[str, ...]:
    """The ids of the entry's videos, one for each placeholder."""
    places = sum(turn["value"].count(VIDEO_TOKEN) for turn in entry["conversations"])
    videos = entry.get("videos", [entry_id] * min(places, 1))
    if not isinstance(videos, list) or not all(isinstance(video, str) for video in videos):
        raise EntryError("videos", f"videos must be a list of ids, got {videos!r}")
    if len(videos) != places:
        raise EntryError(
            "videos", f"expected as many videos as {VIDEO_TOKEN}, got {len(videos)} (key 'videos') for {places}"
        )
    return tuple(videos)


def _frame_indices_of(entry: dict, num_videos: int, num_frames: int) -> tuple[tuple[int, ...] | None, ...]:
    """For each video the indexes of the frames that the entry shows, or None for all."""
    given = entry.get("frame_indices")
    if given is None:
        return (None,) * num_videos
    lists = given if isinstance(given, list) and any(isinstance(shown, list) for shown in given) else [given]
    if len(lists) != num_videos:
        raise EntryError("frame_indices", f"frame_indices are for {len(lists)} videos, the entry has {num_videos}")
    for shown in lists:
        if shown is None:
            continue
        numbers = isinstance(shown, list) and shown and all(type(index) is int for index in shown)
        if not numbers or shown != sorted(set(shown)) or shown[0] < 0 or shown[-1] >= num_frames:
            raise EntryError(
                "frame_indices",
                f"frame_indices must be ascending indexes from 0 to {num_frames - 1}, got {shown}",
            )
    return tuple(None if shown is None else tuple(shown) for shown in lists)
