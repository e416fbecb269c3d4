"""Packaging of llava_v2xum; llava itself is installed beside it (README.md: its metadata pins old releases)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (here / "llava_v2xum" / "__init__.py").read_text()).group(1)

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
        "llava_v2xum.curate": ["prompts/*.txt"],
        "llava_v2xum.evaluate": ["published.json", "lmms_eval/*"],
        "llava_v2xum.shapes": [
            "checkpoint/*", "checkpoint/*/*", "captioner/*", "captioner/*/*", "clip/*", "clips/*", "encoder/*",
        ],
    },
    install_requires=[
        "accelerate",  # transformers' Trainer, which LLaVA trains with
        "av>=17",  # decodes videos, cuts and renders clips
        "matplotlib",  # the importance plot
        "huggingface_hub",
        "numpy",
        "open_clip_torch",  # the released V2Xum-LLM's tower
        "peft>=0.10",
        "pillow>=10.1",
        "protobuf",  # transformers reads tokenizer.model with it
        "requests",  # llava imports it
        "safetensors",
        "sentencepiece",
        "torch>=2.1.2",
        "torchvision",
        "tqdm",
        "transformers>=4.37.2",
    ],
    extras_require={
        "train": ["deepspeed", "ninja"],  # ninja builds DeepSpeed's operators
        "qlora": ["bitsandbytes"],
        # of the evaluators: TVSum's and SumMe's files, change points, COCO's caption scores (METEOR needs Java too)
        "metrics": ["h5py", "pycocoevalcap", "ruptures", "scipy"],
        "bertscore": ["bert-score"],
        # of the data pipeline: endpoints, similarity of captions, BERTScore, near duplicates
        "curate": ["bert-score", "imagehash", "jsonschema", "openai", "scikit-learn"],
        "ray": ["ray[data]>=2.60"],  # infer --engine ray
        "quality": ["language-tool-python"],
        "test": ["hypothesis", "pytest", "ruff", "scipy"],
    },
    entry_points={"llava.plugins": ["v2xum = llava_v2xum.plugin:register"]},
)
