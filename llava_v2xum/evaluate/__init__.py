"""Evaluators of video summaries: pure functions on arrays, and the command that scores prediction files.

Nothing here imports torch, transformers or llava before a CLIP (or another model) is asked for.
"""
