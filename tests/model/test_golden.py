"""Ids, embeddings and logits of one tiny checkpoint, the same in every environment.

`python tests/model/test_golden.py` writes the golden file anew; only a change of the model's own meaning calls for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
import weights

from llava_v2xum.core.tasks import query_for
from llava_v2xum.data.dataset import build_input_ids

GOLDEN = Path(__file__).parents[1] / "data" / "golden_tiny.json"
TOLERANCE = 1e-4


@torch.no_grad()
def measure() -> dict[str, list]:
    """What the golden file holds; the weights come from NumPy alone (`weights.fill`)."""
    model = weights.video_model()
    videos = [weights.numbers(100, weights.CHANNELS, name="golden")]
    clip = weights.numbers(6, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, name="golden clip")
    ids = build_input_ids(weights.tokenizer(), query_for("both"))
    with weights.decoder_inputs(model) as seen:
        logits = model(ids[None], videos=videos).logits[0]
    (row,) = seen[0]
    ramp = torch.linspace(-1, 1, row.numel()).view_as(row)  # so that two rows cannot change places unnoticed
    from_pixels = model(ids[None], videos=[clip]).logits[0]
    new_ids = model.generate(ids[None], videos=videos, do_sample=False, max_new_tokens=12)[0]
    rounded = {
        "embeddings": row[::29, :6],
        "embeddings_sums": torch.stack([row.mean(), (row * ramp).mean(), row.std()]),
        "logits": logits[::37, 5:405:80],
        "last_logits": logits[-1, ::10],
        "tower_features": model.encode_frames(clip)[:, ::4],
        "last_logits_from_pixels": from_pixels[-1, ::10],
    }
    exact = {
        "ids": ids.tolist(),
        "temporal_prompt_ids": model.config.temporal_prompt_ids[::9],
        "shape": list(logits.shape),
        "best": logits.argmax(dim=-1)[::13].tolist(),
        "new_ids": new_ids.tolist(),
    }
    return {**exact, **{name: [round(x, 6) for x in value.flatten().tolist()] for name, value in rounded.items()}}


@pytest.mark.every_python
@pytest.mark.pinned
def test_numbers_are_the_same_everywhere():
    golden, here = json.loads(GOLDEN.read_text()), measure()
    assert golden.keys() == here.keys()
    for name, expected in golden.items():
        if any(isinstance(value, float) for value in expected):
            assert here[name] == pytest.approx(expected, abs=TOLERANCE, rel=0), name
        else:
            assert here[name] == expected, name


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in measure().items()) + "\n}\n")
