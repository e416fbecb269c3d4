"""Published annotations -> the project's annotation form and the instruction JSON that training reads.

`python -m llava_v2xum.convert --help` has the command. Neither torch nor llava is needed.
"""

from __future__ import annotations

from ...core.readers import Accepted, Reader, Rejected, SourceError
from . import (
    activitynet_captions,
    eccv16,
    instruct_v2xum,
    lvsum,
    paragraphs,
    qfvs,
    qvhighlights,
    s_videoxum,
    shot2story,
    summe,
    tvsum,
    videoxum,
    vitt,
    youcook2,
)
from .answers import AnswerSettings, entries_of
from .conversion import Report, Settings, StrictStop, convert_file
from .targets import RULES, targets_of

READERS: dict[str, Reader] = {
    module.NAME: module.READER
    for module in (
        *(videoxum, instruct_v2xum, activitynet_captions, eccv16, tvsum, summe),
        *(youcook2, vitt, paragraphs, shot2story, qvhighlights, s_videoxum, qfvs, lvsum),
    )
}

__all__ = [
    "READERS",
    "RULES",
    "Accepted",
    "AnswerSettings",
    "Reader",
    "Rejected",
    "Report",
    "Settings",
    "SourceError",
    "StrictStop",
    "convert_file",
    "entries_of",
    "targets_of",
]
