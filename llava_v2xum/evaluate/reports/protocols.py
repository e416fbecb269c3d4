"""How each metric is computed, whose script it equals, and which published rows used it: `evaluate protocol`.

A metric's formula stands in full where it is computed; here it is one line for people, with the script that gives the
same figure. A further metric has a line in `PROTOCOLS`, which a test asks for.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ... import __version__
from ...core.data_sets import DataSet
from ..formats.data_sets import DATA_SETS
from ..metric_registry import METRICS
from .layouts import layout, wrapped
from .report import fact_text
from .scores import Report
from .side_by_side import Published

_COCO = "pycocoevalcap 1.2 (COCO captions)"
_DENSE = "densevid_eval at 9d4045a (2019; PDVC's evaluate2021.py), but for videos without a prediction, which score 0"
_OTANI = "rethinking-evs at 7a3b05e (Otani et al. 2019)"
_MOMENTS = "moment_detr, standalone_eval/eval.py, by its code: not run beside it"
_WINDOWS = "moment_detr at b7e553a, standalone_eval/eval.py"
_HISUM = "MR.HiSum, model/solver.py, by its code: not run beside it; equal pieces may be in another order"
_VIDEOXUM = "jylins/videoxum at 11bd4fe"
_KEYSHOTS = "pytorch-vsumm-reinforce; with --budget segments PGL-SUM and CSTA"
_OURS = "none known: our choice"

# metric, or how several of them begin -> formula, and the script that gives the same figure
PROTOCOLS: dict[str, tuple[str, str]] = {
    "f1": ("2 |S n R| / (|S| + |R|) of the selected samples S and each annotator's R, their mean", _OURS),
    "f1_max": ("the same, of the annotator whom it fits best", _OURS),
    "f1_top": ("F1 of the int(share T) samples of the highest importance, of equal ones the earlier", _OURS),
    "f1_area": ("the mean of F1 at the top 5, 10, ... 50 %", _OURS),
    "f1_videoxum": ("F1 of every sample at or above the value at place int(0.15 T)", "what VideoXum's script means"),
    "f1_videoxum_script": ("F1 of every sample at or above an arbitrary one's value, of 512 at most", _VIDEOXUM),
    "keyshot_f1_avg": ("F1 over frames of segments by knapsack within 15 %, mean over users", _KEYSHOTS),
    "keyshot_f1_max": ("the same, of the best user", _KEYSHOTS),
    "kendall": ("tau-b of importance with the annotators' mean", _VIDEOXUM),
    "spearman": ("rank correlation of importance with the annotators' mean", _VIDEOXUM),
    "kendall_per_annotator": ("tau-b with each annotator, their mean", _OTANI),
    "spearman_per_annotator": ("rank correlation with each annotator, their mean", _OTANI),
    "kendall_summary": ("tau-b of the knapsack summary with the mean of the users' masks", "CSTA, inference.py, SumMe"),
    "spearman_summary": ("the same by ranks", "CSTA, inference.py, SumMe"),
    "hl_map": ("interpolated average precision of clips that a person graded so, mean over people", _MOMENTS),
    "hl_hit1": ("whether the clip of the highest importance is graded so by anybody", _MOMENTS),
    "mr_r1_": ("whether the first window's IoU with the marked one that it fits best reaches that", _WINDOWS),
    "mr_map": ("interpolated average precision of the first ten windows, mean over IoUs and queries", _WINDOWS),
    "map": ("average precision of the best pieces of five samples", _HISUM),
    "concept_": ("summed IoU of the concepts of shots, matched one to one at its highest, by chosen or reference shots",
                 "EgoVLPv2, QFVS/semantic_evaluation.py"),
    "f_clip": ("2 P R / (P + R), R the mean over reference frames of the nearest chosen one's cosine, P the other way",
               "none known: eq. 1 to 3 of arXiv 2404.12353"),
    "cross_f_clip": ("the mean of F_CLIP of reference frames with predicted sentences and the other way",
                     "none known: eq. 4 of arXiv 2404.12353"),
    "vt_clipscore": ("cosine of the chosen frames' mean with the text", f"{_VIDEOXUM}, eval_v2vt_sum.py"),
    "bleu": ("modified n-gram precision over the corpus, brevity penalty", _COCO),
    "meteor": ("METEOR 1.5 over the corpus", _COCO),
    "rouge_l": ("F of the longest common subsequence, beta 1.2, mean over videos", _COCO),
    "cider": ("CIDEr-D by the document frequencies of all references", _COCO),
    "bertscore": ("greedy matching of token embeddings", "bert-score"),
    "judged_": ("a model's grade from 1 to 5, less 1 and by 4; mean over videos", "none: LVSum's is not published"),
    "dense_precision": ("share of predicted events with tIoU above 0.3, 0.5, 0.7, 0.9, mean", _DENSE),
    "dense_recall": ("share of annotated events that are found, mean over tIoUs", _DENSE),
    "dense_f1": ("harmonic mean of mean precision and mean recall, mean over tIoUs", "VTimeLLM, dvc_eval/eval_dvc.py"),
    "dense_": ("captions against the references of the events that they overlap, within a video", _DENSE),
    "dense_meteor_2018": ("the same; what overlaps nothing against abc123!@#", "densevid_eval at deba7d7 (2018)"),
    "soda_c": ("F1 of IoU times METEOR, summed over the best alignment in time order", "none: soda_c_script does"),
    "soda_c_script": ("the same with hypothesis and reference exchanged", "fujiso/SODA, soda.py -s c -mr"),
}  # fmt: skip


def protocol_of(name: str) -> tuple[str, str]:
    """A metric's formula and the script that it equals, by its name or the longest beginning of it.

    Raises:
        KeyError: if there is none.
    """
    named = [key for key in PROTOCOLS if name == key or (name.startswith(key) and key != "f1")]
    return PROTOCOLS[max(named, key=len)] if named else PROTOCOLS[name]


def protocol_text(dataset: str, published: Published, every: bool = False) -> str:
    """What each column of a data set's table is; of every metric where that is asked for."""
    known: DataSet = DATA_SETS[dataset]
    names = list(METRICS) if every else [one.name for one in layout(dataset)]
    rows = [row for row in published.rows if row.dataset == dataset]
    lines = [f"{known.help} (llava_v2xum {__version__})", ""]
    for name in names:
        metric = METRICS[name]
        formula, equals = protocol_of(name)
        users = list(dict.fromkeys(f"{row.source}, {row.table}" for row in rows if name in row.values))
        unstated = any(name in row.unstated for row in rows)
        lines.append(f"{name} ({metric.group}: {metric.heading})")
        lines += wrapped([metric.about, f"formula: {formula}", f"equals: {equals}"])
        if users:
            lines += wrapped(["published: " + "; ".join(users) + (" (protocol not stated: ?)" if unstated else "")])
    return "\n".join(lines) + "\n"


def card(report: Report, files: Sequence[Path]) -> str:
    """A block to paste into an article: what was scored, how, by which versions, against which files."""
    facts = {key: fact_text(value) for key, value in report.facts.items()}
    given = {"data set": report.dataset, "system": report.system, **facts}
    given |= {f"sha256 of {path.name}": digest(path) for path in files}
    given |= {"columns": ", ".join(report.keys), "NumPy": np.__version__, "Python": platform.python_version()}
    lines = [*given.items(), *(("doubtful", doubt) for doubt in report.doubts)]
    return "".join(f"- {key}: {value}\n" for key, value in lines)


def digest(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256; of a folder that of its files, in the order of their names.

    Raises:
        OSError: if it cannot be read.
    """
    total = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(file.relative_to(path).as_posix().encode())
        with open(file, "rb") as content:
            while part := content.read(1 << 20):
                total.update(part)
    return total.hexdigest()[:16]
