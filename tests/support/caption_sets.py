"""Texts that the caption metrics' tests share, and what is asked of the machine that runs them."""

from __future__ import annotations

import pytest

from llava_v2xum.evaluate.metrics.java import has_java

needs_java = pytest.mark.skipif(not has_java(), reason="there is no `java` on the PATH that runs")

# Several references, punctuation, Unicode, line breaks and separators in the text, repeated words, empty predictions.
PREDICTIONS = {
    "v1": "A man is running on the track, and he jumps over a hurdle.",
    "v2": "She brushes her hair; then she smiles (twice)!\nThe café is 'closed' at 3.5 p.m. -- isn't it?",
    "v3": "",
    "v4": "the the the the dog",
    "v5": "Un naïf élève ||| plays the guitar \"well\" ... 1,000 times",
    "v6": "A boy rides a lawn mower.",
    "v7": "...",
}
REFERENCES = {
    "v1": ["A man runs along the track.", "The athlete is running and jumps over a hurdle quickly."],
    "v2": ["A woman is brushing her hair.\n\nShe smiles.", "The café isn't open at 3.5 p.m.", "hair"],
    "v3": ["Someone cooks pasta."],
    "v4": ["The dog chases the cat, the cat runs."],
    "v5": ["The naïf élève plays a guitar 1,000 times."],
    "v6": ["A boy rides a lawn mower."],
    "v7": ["Two dogs play.", "Dogs."],
}
