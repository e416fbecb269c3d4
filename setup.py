"""Packaging of llava_v2xum; llava itself is installed beside it (README.md: its metadata pins old releases)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (here / "llava_v2xum" / "__init__.py").read_text()).group(1)

# to run, train and serve the model, and to read videos
MODEL = [
    "accelerate>=0.21",  # transformers' Trainer, which LLaVA trains with
    "av>=17",  # decodes videos, cuts and renders clips
    "matplotlib>=3.8",  # the importance plot
    "huggingface_hub>=0.20",
    "jinja2>=3.1",  # the pages of summaries
    "open_clip_torch>=3",  # the released V2Xum-LLM's tower
    "peft>=0.10",
    "pillow>=10.1",
    "protobuf>=4.25",  # transformers reads tokenizer.model with it
    "requests>=2.31",  # llava imports it
    "safetensors>=0.4.1",
    "sentencepiece>=0.1.99",
    "torch>=2.1.2",
    "torchvision>=0.16.2",
    "transformers>=4.37.2",
]
ENDPOINT = ["jsonschema>=4.20", "openai>=1.45"]  # a model behind an OpenAI-compatible endpoint
METRICS = ["h5py>=3.10", "matplotlib>=3.8", "pycocoevalcap>=1.2", "ruptures>=1.1.9", "scipy>=1.11.3"]

setup(
    name="llava_v2xum",
    version=version,
    description="Cross-modal video summarization as a thin plugin for LLaVA-1.5 (V2Xum-LLM)",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["llava_v2xum", "llava_v2xum.*"]),
    package_data={
        "llava_v2xum": ["py.typed"],
        "llava_v2xum.curate.card": ["card.md"],
        "llava_v2xum.curate.data_set": ["preview.html"],
        "llava_v2xum.curate.stages": ["prompts/*.txt"],
        "llava_v2xum.evaluate.lmms_eval": ["*"],
        "llava_v2xum.evaluate.models": ["prompts/*.txt"],
        "llava_v2xum.evaluate.reports": ["published.json"],
        "llava_v2xum.media.page": ["*.css", "*.html", "*.js"],
        "llava_v2xum.train.inspection": ["page.html"],
        "llava_v2xum.shapes": [
            "checkpoint/*", "checkpoint/*/*", "captioner/*", "captioner/*/*", "clip/*", "clips/*", "encoder/*",
        ],
    },
    # the light core: citations, annotations, conversion. What a command needs beside it, an extra brings, for pip can
    # add to what is required and take nothing away: so the evaluators alone are one command, without torch
    install_requires=["numpy>=1.26", "tqdm>=4.66"],
    extras_require={
        "model": MODEL,
        # of the evaluators: TVSum's and SumMe's files, plots, COCO's caption scores (METEOR needs Java), change points
        "metrics": METRICS,
        # the lowest DeepSpeed and bitsandbytes run on a GPU only: without one just their import was tried. ninja builds
        # DeepSpeed's operators
        "train": [*MODEL, "deepspeed>=0.14", "ninja>=1.11"],
        "qlora": [*MODEL, "bitsandbytes>=0.43"],
        "bertscore": [*METRICS, "bert-score>=0.3.13"],
        "endpoint": ENDPOINT,  # of the evaluators: a judge (evaluate --judge)
        # of the data pipeline: BERTScore, near duplicates, card and preview, endpoints, similarity of captions
        "curate": [
            *MODEL, *ENDPOINT, "bert-score>=0.3.13", "imagehash>=4.3.1", "scikit-learn>=1.3.2",
        ],
        "edit": [*MODEL, "opentimelineio>=0.18", "scenedetect>=0.7"],  # --export otio, --snap shots
        "web": [*MODEL, "gradio>=6"],  # infer.web
        "ray": [*MODEL, "ray[data]>=2.60"],  # infer --engine ray
        "quality": [*MODEL, "language-tool-python>=2.8"],
        "test": [
            "hypothesis>=6.100", "import-linter>=2.7", "mypy>=2.4", "playwright>=1.49", "pytest>=8",
            "pytest-xdist>=3.6", "ruff>=0.9", "scipy>=1.11.3",
        ],
    },
    entry_points={
        "console_scripts": ["v2xum = llava_v2xum.__main__:main"],
        "llava.plugins": ["v2xum = llava_v2xum.train.hooks:register"],
    },
)
