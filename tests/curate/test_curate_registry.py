"""A new stage is a class and a line: its flags, its place, its name and what the card tells stand beside it."""

from __future__ import annotations

import pytest

from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.curate.card.facts import CardFacts
from llava_v2xum.curate.options import parse_arguments
from llava_v2xum.curate.ray_run import _share
from llava_v2xum.curate.stages import registry
from llava_v2xum.curate.stages.command_stage import CommandStage
from llava_v2xum.curate.stages.registry import STAGES, models_of, options_of, stages_of
from llava_v2xum.curate.store.stage import CPU, GPU, GPU_SHARE, WAITS, Rejected, fingerprints
from llava_v2xum.infer.ray.cluster import Layout


class Spoken(CommandStage):
    """Drops videos in which nobody speaks."""

    name = "spoken"
    does = "videos in which somebody speaks"
    recorded = ("least_words",)
    only_selects = True
    model_name = "ears"

    def __init__(self, least_words: int = 1) -> None:
        self.least_words = least_words

    @classmethod
    def add_options(cls, add) -> None:
        add("--least-words", type=int, default=3, help="fewest words")

    @classmethod
    def problem(cls, args) -> str | None:
        return "--least-words must not be 13" if args.least_words == 13 else None

    @classmethod
    def from_arguments(cls, args, budget):
        return cls(args.least_words)

    def settings(self):
        return {"least_words": self.least_words}

    def work(self, source, before, ledger):
        raise Rejected("silent", "nobody speaks")


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "STAGES", (STAGES[0], Spoken, *STAGES[1:]))
    monkeypatch.setattr(registry, "NAMES", tuple(stage.name for stage in registry.STAGES))


GIVEN = ["v", "--out", "o", "--captioner", "shapes"]


def test_it_is_in_help_in_its_place(registered, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    told = capsys.readouterr().out
    assert "\n  spoken    videos in which somebody speaks\n  caption " in told
    assert "\nspoken:\n  --least-words" in told


def test_its_flags_are_checked_and_make_it(registered, capsys):
    made = stages_of(parse_arguments([*GIVEN, "--least-words", "5"]), Budget())
    assert [stage.name for stage in made] == ["select", "spoken", "caption", "extract", "filter", "refine"]
    assert made[1].settings() == {"least_words": 5}
    assert [stage.name for stage in stages_of(parse_arguments([*GIVEN, "--until", "spoken"]), Budget())] == [
        "select", "spoken"
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        parse_arguments([*GIVEN, "--least-words", "13"])
    assert capsys.readouterr().err.startswith("error: --least-words must not be 13\n")


def test_the_card_tells_of_it(registered):
    args = parse_arguments(GIVEN)
    stages = stages_of(args, Budget())
    assert options_of(args, stages)["least_words"] == 3 and models_of(stages)["spoken"] == "ears"
    rejected = {"write": {"id": 1}, "caption": {"caption": 1}, "spoken": {"silent": 2}, "select": {"too short": 1}}
    assert list(CardFacts((), rejected=rejected).rejected_in_order()) == ["select", "spoken", "caption", "write"]


def test_what_was_found_without_it_is_not_found_again(registered):
    args = parse_arguments(GIVEN)
    with_it = stages_of(args, Budget())
    assert fingerprints(with_it)[2:] == fingerprints([with_it[0], *with_it[2:]])[1:]


def test_a_stage_needs_no_flags():
    class Bare(CommandStage):
        name = "bare"

        def settings(self):
            return {}

        def work(self, source, before, ledger):
            return {}

    assert isinstance(Bare.from_arguments(parse_arguments(GIVEN), Budget()), Bare)


def test_what_it_takes_of_a_cluster_is_its_own_to_say():
    layout = Layout(actors=2, encoders=1, readers=4, gpus=1.0, threads=None)
    assert [stage.needs for stage in STAGES] == [CPU, GPU, WAITS, GPU_SHARE, WAITS] and Spoken.needs == WAITS
    assert _share(CPU, layout, 3) == (3, {"num_cpus": 1}) and _share(WAITS, layout, 3) == (1, {"num_cpus": 0})
    assert _share(GPU, layout, 3) == (2, layout.resources_of_actors)
    assert _share(GPU_SHARE, layout, 3) == (1, layout.resources_of_encoders)
