"""Every data set that can be scored: those that a reader tells of, and the rendered world."""

from __future__ import annotations

from ...core.data_sets import CROSS_MODAL_TABLE, DataSet
from ...data.convert import READERS

DATA_SETS: dict[str, DataSet] = {
    **{name: reader.data_set for name, reader in READERS.items() if reader.data_set is not None},
    "shapes": DataSet(
        "rendered shapes, by `python -m llava_v2xum.shapes`",
        "the folder, or its videoxum.json or instruct.json",
        ("videoxum", "instruct-v2xum"),
        CROSS_MODAL_TABLE,
        examples="""example:
  python -m llava_v2xum.shapes --videos 40 --out shapes
  python -m llava_v2xum.infer shapes/videos --output-dir out
  ... shapes --predictions out/summaries.jsonl --annotations shapes --out report
      a whole table, CLIP's columns too: a small CLIP of this world ships with the package
""",
    ),
}
