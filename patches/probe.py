"""What `forks.py` runs in a process of its own, where the package LLaVA is a fork: one JSON line of what came out.

    python patches/probe.py make FOLDER              the tiny weights and data that the others take
    python patches/probe.py chat,video,train FOLDER  the fork's own loader and training, on these
    python patches/probe.py expected FOLDER          what `video` is to give
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from llava_v2xum.features.llava_found import PACKAGE  # which imports no LLaVA

FRAMES = 10
STOCK, OURS, BASE, TOWER = "llava-v1.5-tiny", "ours", "tiny-vicuna", "tower"  # forks choose classes by such names


def make(folder: Path) -> dict:
    """Stock and own checkpoint, base, tower, features and instructions."""
    import numpy as np
    import tiny
    import tiny_layouts
    import weights

    from llava_v2xum.core.tasks import INSTRUCTIONS

    tiny.write_tower(folder / TOWER)
    tiny_layouts.write_full(folder / STOCK, "llava_llama", folder / TOWER)
    tiny_layouts.write_full(folder / OURS, "llava_v2xum", folder / TOWER, num_frames=FRAMES)
    tiny.write_base(folder / BASE)
    (folder / "features").mkdir()
    features = weights.numbers(FRAMES, weights.CHANNELS).numpy()
    np.save(folder / "features" / "v_1.npy", features.astype(np.float16))
    turns = [("human", "<video>\n" + INSTRUCTIONS["both"]), ("gpt", "A man runs [07, 08, 09].")]
    entry = {"id": "v_1", "conversations": [{"from": who, "value": value} for who, value in turns]}
    (folder / "instruct.json").write_text(json.dumps([entry]))
    return {}


def load(checkpoint: Path):
    """The fork's own loader, called as its own commands do; then in float32, as torch 2.1 has no float16 on the CPU."""
    import torch

    stock = importlib.import_module(f"{PACKAGE}.model.builder").load_pretrained_model
    takes = inspect.signature(stock).parameters
    where = {"device": "cpu"} if "device" in takes else {}  # LLaVA-NeXT has none, and takes what is there
    if "attn_implementation" in takes:
        where["attn_implementation"] = "eager"
    torch.manual_seed(0)
    tokenizer, model, *_ = stock(str(checkpoint), None, checkpoint.name, **where)
    return tokenizer, model.float().eval()


def chat(folder: Path) -> dict:
    """Stock LLaVA on an image: the logits of the prompt, and the ids of the answer."""
    import torch
    import weights

    _, model = load(folder / STOCK)
    ids, images = torch.tensor([[1, 5, 6, -200, 7, 8]]), weights.numbers(1, 3, 28, 28, name="image")
    with torch.no_grad():
        logits = model(input_ids=ids, images=images).logits
        try:
            new = model.generate(ids, images=images, do_sample=False, max_new_tokens=8, use_cache=True)[0].tolist()
        except TypeError as error:  # LLaVA's own on transformers 5.24, which calls its forward with other names
            return {"logits": logits[0, -1, :20].tolist(), "ids": None, "said": str(error)}
    return {"logits": logits[0, -1, :20].tolist(), "ids": new}


def expected(folder: Path) -> dict:
    """What `video` is to give: the same by this package's own loader."""
    from llava_v2xum import load_pretrained

    return answer(folder, *load_pretrained(folder / OURS, device="cpu")[:2])


def video(folder: Path) -> dict:
    """A checkpoint of this plugin through the fork's loader."""
    from llava_v2xum.features.upstream import require_llava

    require_llava()  # as every command of this package does first
    return answer(folder, *load(folder / OURS))


def answer(folder: Path, tokenizer, model) -> dict:
    """On two videos in one batch."""
    import numpy as np
    import torch

    from llava_v2xum import build_input_ids

    features = torch.from_numpy(np.load(folder / "features" / "v_1.npy")).float()
    question = build_input_ids(tokenizer, "<video>\n Please generate a TEXT summarization for this video.")
    ids = question.expand(2, -1)
    videos = [features, features.flip(0)]
    with torch.no_grad():
        logits = model(ids, videos=videos).logits
        new = model.generate(ids, videos=videos, do_sample=False, max_new_tokens=8)
    return {"logits": logits[:, -1, :20].flatten().tolist(), "ids": new.flatten().tolist()}


def lora(folder: Path) -> dict:
    return train(folder, ["--lora_enable", "True"])


def train(folder: Path, more: list[str] | None = None) -> dict:
    """Two steps of the fork's own `train()` on a video; by this package's command where the patch did not apply."""
    from llava_v2xum.features.upstream import llava_train  # mended for transformers 5, as the commands have it

    out = folder / f"out-{os.getpid()}"
    sys.argv = [
        "train.py", "--model_name_or_path", str(folder / BASE), "--vision_tower", str(folder / TOWER),
        "--data_path", str(folder / "instruct.json"), "--feature_folder", str(folder / "features"),
        "--output_dir", str(out), "--num_frames", str(FRAMES), "--max_steps", "2", "--bf16", "True",
        "--use_cpu", "True", "--report_to", "none", "--save_strategy", "no", "--logging_steps", "1",
        *(more or []),
    ]  # fmt: skip
    if hasattr(llava_train, "plugins"):  # the patch is there
        takes = inspect.signature(llava_train.train).parameters
        llava_train.train(**({"attn_implementation": "sdpa"} if "attn_implementation" in takes else {}))
    else:
        from llava_v2xum.train.loop import train as own_train

        own_train()
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    config = json.loads((out / "config.json").read_text())
    losses = [step["loss"] for step in history if "loss" in step]
    return {"losses": losses, "model_type": config["model_type"]}


def outcome(function, place: Path) -> dict:
    try:
        return function(place)
    except (Exception, SystemExit) as error:
        lines = str(error).splitlines()
        return {"error": type(error).__name__, "said": lines[0] if lines else ""}


if __name__ == "__main__":
    kinds, place = sys.argv[1].split(","), Path(sys.argv[2]).resolve()
    known = {function.__name__: function for function in (make, expected, chat, video, train, lora)}
    print("\n" + json.dumps({kind: outcome(known[kind], place) for kind in kinds}))
