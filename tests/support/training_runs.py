"""Training in processes of their own: `python training_runs.py PLAN.json`, alone or under a launcher.

A plan is a list of runs: {"arguments": [...], "logits": file to write or null, "losses": file to write or null,
"kill_after": a step or null, "kill_in_save": a step or null, "nan_of": a video whose features are NaN or null,
"expect": the name of the error that ends it, which is printed, or null}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

FRAMES = 10
ANSWERS = {
    f"v_{index}": f"A woman brushes her hair [0{index}, 0{index + 1}]." + " A man runs [07, 08]." * (index % 4)
    for index in range(8)
}


def write_sources(folder: Path, answers: dict[str, str] = ANSWERS) -> Path:
    """base/, tower/, features/ and instruct.json, as a user has them, with an entry for each video's answer."""
    import numpy as np
    import tiny
    import weights

    from llava_v2xum.core.tasks import INSTRUCTIONS

    tiny.write_base(folder / "base")
    tiny.write_tower(folder / "tower")
    (folder / "features").mkdir()
    entries = []
    for name, answer in answers.items():
        features = weights.numbers(FRAMES, weights.CHANNELS, name=name).numpy()
        np.save(folder / "features" / f"{name}.npy", features.astype(np.float16))
        turns = [("human", "<video>\n" + INSTRUCTIONS["both"]), ("gpt", answer)]
        entries.append({"id": name, "conversations": [{"from": who, "value": value} for who, value in turns]})
    (folder / "instruct.json").write_text(json.dumps(entries))
    return folder


def paths(sources: Path, output_dir: Path) -> list[str]:
    return [
        "--model_name_or_path", str(sources / "base"), "--vision_tower", str(sources / "tower"),
        "--data_path", str(sources / "instruct.json"), "--feature_folder", str(sources / "features"),
        "--output_dir", str(output_dir), "--num_frames", str(FRAMES),
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Of the processes: DeepSpeed on the CPU, one thread each, the modules of this folder."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    settings = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PATH": path, "PYTHONPATH": python_path}
    return {**os.environ, **settings}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(
    folder: Path, plan: list[dict], processes: int = 1, timeout_seconds: int = 400
) -> subprocess.CompletedProcess:
    """Carry out a plan; the result holds the exit status and what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={free_port()}"]
    command += [__file__, str(file)]
    return subprocess.run(
        command, env=environment(), text=True, capture_output=True, timeout=timeout_seconds, errors="replace"
    )


def what_went_wrong(done: subprocess.CompletedProcess) -> str:
    """The first traceback of the processes, without the launcher's own words around it."""
    begin = done.stderr.find("]: Traceback")
    return done.stderr[begin:][:6000] if begin >= 0 else done.stderr[-6000:]


def example(sources: Path):
    """ids [1, S] and the features [T, C] of one video, to ask models about."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer

    from llava_v2xum.core.tasks import INSTRUCTIONS
    from llava_v2xum.model.tokens import build_input_ids

    tokenizer = AutoTokenizer.from_pretrained(sources / "base", use_fast=False)
    ids = build_input_ids(tokenizer, "<video>\n " + INSTRUCTIONS["both"])
    features = torch.from_numpy(np.load(sources / "features" / "v_3.npy")).float()
    return ids[None], features


def logits_of(model, sources: Path):
    """What a model, or DeepSpeed's engine around one, answers; float32 [L, V]."""
    import torch

    ids, features = example(sources)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        answer = model(input_ids=ids, attention_mask=torch.ones_like(ids), videos=[features]).logits[0].float()
    model.train(was_training)
    return answer


def losses_of(*files: Path) -> dict[int, list[float]]:
    """step -> the losses of its batches; where several runs made a step, those of the last one."""
    found: dict[int, list[float]] = {}
    for file in files:
        steps: dict[int, list[float]] = {}
        for line in file.read_text().splitlines():
            step, loss = json.loads(line)
            steps.setdefault(step, []).append(loss)
        found.update(steps)
    return found


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _carry_out(run: dict) -> None:
    import numpy as np
    import transformers

    import llava_v2xum.train.trainer as ours
    from llava_v2xum.data.frame_sources import StoredFeatures
    from llava_v2xum.train.loop import train

    class Kill(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == run.get("kill_after"):
                _die()

    stock_step = transformers.Trainer.training_step

    def recorded(trainer, *args, **kwargs):
        loss = stock_step(trainer, *args, **kwargs)
        if run.get("losses") and trainer.args.process_index == 0:
            with open(run["losses"], "a") as file:
                file.write(json.dumps([trainer.state.global_step, loss.item()]) + "\n")
        return loss

    put_in_place = ours._WholeCheckpoints._put_in_place

    def put_or_die(trainer, written) -> None:
        if trainer.state.global_step == run.get("kill_in_save"):
            _die()
        put_in_place(trainer, written)

    transformers.Trainer.training_step = recorded
    ours._WholeCheckpoints._put_in_place = put_or_die
    transformers.trainer.DEFAULT_CALLBACKS.append(Kill)
    load = StoredFeatures.load

    def load_or_nan(source, video_id, frame_indices):
        return load(source, video_id, frame_indices) * (float("nan") if video_id == run.get("nan_of") else 1)

    StoredFeatures.load = load_or_nan
    trainer = None
    try:
        trainer = train(run["arguments"])
    except Exception as error:
        if type(error).__name__ != run.get("expect"):
            raise
        sys.stdout.write(json.dumps({"raised": str(error)}) + "\n")  # at once: several processes share the output
        sys.stdout.flush()
    StoredFeatures.load = load
    transformers.trainer.DEFAULT_CALLBACKS.remove(Kill)
    transformers.Trainer.training_step = stock_step
    ours._WholeCheckpoints._put_in_place = put_in_place
    if run.get("logits") and trainer is not None:
        answer = logits_of(trainer.model_wrapped, Path(run["sources"]))
        if trainer.args.process_index == 0:
            np.save(run["logits"], answer.numpy())
            names = sorted(name for name, value in trainer.model.named_parameters() if value.requires_grad)
            Path(run["logits"]).with_suffix(".json").write_text(json.dumps(names))


if __name__ == "__main__":
    for planned in json.loads(Path(sys.argv[1]).read_text()):
        _carry_out(planned)
