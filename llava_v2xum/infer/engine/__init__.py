"""Answers of many videos: drafts checked in one pass, prefixes shared, rows filled again as they finish.

    jobs --> a free row (or several: one for each prompt of the video) --> passes --> answers, as they finish

Every pass feeds each row its last token and a draft of those behind it, and keeps of the draft what the model itself
would have written: the answers are those of one token a pass, however good or bad the drafts are.
"""

from .answers import Answer
from .generate import generate_answers
from .loop import Engine
from .stats import EngineStats
from .work import Job

__all__ = ["Answer", "Engine", "EngineStats", "Job", "generate_answers"]
