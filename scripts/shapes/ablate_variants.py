"""The rows of the table that `ablate_shapes.py` makes: what is trained, and on which features."""

from __future__ import annotations

from dataclasses import dataclass

from llava_v2xum.core.tasks import TASKS

ALIGN_FRAMES = 12  # of each clip that projectors are aligned on
PATCH_MEAN = ("patch_mean", 1)
KINDS = (PATCH_MEAN, ("class_token", 1), ("clip_embedding", 1), ("patch_mean", 4), ("patch_mean", 9))
PROMPT_IDS = {"[00]": 4, "00": 3, "[f00]": 5}  # of the base's tokenizer
ANSWER_POSITIONS = {25: 255, 50: 340, 100: 500}  # at most, of a video's three questions and answers, by N


@dataclass(frozen=True)
class Variant:
    """One row of the table: what differs from its first.

    Args:
        name: by which `--only` and the results know it.
        label: the row's heading.
        flags: of training, those that the other fields do not give.
        extra_data: whether it is trained on the second data set too.
        aligned: whether it starts from an aligned projector.
        apart: VIDEO and TEXT are trained apart, each with half of the steps.
        kind: of frame feature, and tokens a frame.
        prompt: the temporal prompt of frame 0; None for none.
    """

    name: str
    label: str
    flags: tuple[str, ...] = ()
    extra_data: bool = True
    aligned: bool = True
    apart: bool = False
    num_frames: int = 50
    kind: tuple[str, int] = PATCH_MEAN
    prompt: str | None = "[00]"

    @property
    def lora(self) -> bool:
        return "--lora_enable" in self.flags

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The tasks of each of its trainings."""
        return (("video",), ("text",)) if self.apart else (TASKS,)

    @property
    def row_positions(self) -> int | None:
        """Positions of a packed row that holds one video with its three tasks; None where nothing is packed.

        Two videos never fit, so that every variant sees as many samples in a step. Without temporal prompts some
        would; and one task alone has nothing to share.
        """
        if self.apart or self.prompt is None:
            return None
        return self.num_frames * (PROMPT_IDS[self.prompt] + self.kind[1]) + ANSWER_POSITIONS[self.num_frames]


VARIANTS = (
    Variant("base", "**base**: tasks together, both data sets, full, `[00]`, N = 50, mean of patches"),
    Variant("apart", "tasks apart: a VIDEO model and a TEXT model", apart=True),
    Variant("main_only", "no extra data set", extra_data=False),
    Variant("lora", "LoRA for full", ("--lora_enable", "True", "--lora_r", "64", "--lora_alpha", "128")),
    Variant("no_prompts", "no temporal prompts", ("--temporal_prompts", "False"), prompt=None),
    Variant("new_projector", "no pretrained projector", aligned=False),
    Variant("n25", "N = 25", num_frames=25),
    Variant("n100", "N = 100", num_frames=100),
    Variant("bare", "temporal prompt `00`", ("--temporal_prompt_template", "00"), prompt="00"),
    Variant("f", "temporal prompt `[f00]`", ("--temporal_prompt_template", "[f00]"), prompt="[f00]"),
    Variant("class_token", "class token", kind=("class_token", 1)),
    Variant("clip_embedding", "CLIP image embedding", kind=("clip_embedding", 1)),
    Variant("tokens4", "4 tokens a frame", kind=("patch_mean", 4)),
    Variant("tokens9", "9 tokens a frame", kind=("patch_mean", 9)),
)
