"""The three summarization tasks and the words that ask for them (released code, `inference.py`)."""

from __future__ import annotations

from .errors import V2XumError

VIDEO_TOKEN = "<video>"

INSTRUCTIONS = {
    "video": "Please generate a VIDEO summarization for this video.",
    "text": "Please generate a TEXT summarization for this video.",
    "both": "Please generate BOTH video and text summarization for this video.",
}

TASKS = tuple(INSTRUCTIONS)
ALL = "all"  # the three of one video, which share its reading, its features and the decoder's work on them
CONVERSATION = "v2xum"  # the conversation template: Vicuna's, as the released model uses


def query_for(task: str, separator: str = "\n ") -> str:
    """The whole human turn that asks for a task.

    Args:
        task: "video", "text" or "both".
        separator: what stands between `<video>` and the instruction: released inference writes a line break and
            a blank, Instruct-V2Xum's data a line break alone.

    Raises:
        V2XumError: if the task is none of the three.
    """
    if task not in INSTRUCTIONS:
        raise V2XumError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    return f"{VIDEO_TOKEN}{separator}{INSTRUCTIONS[task]}"
