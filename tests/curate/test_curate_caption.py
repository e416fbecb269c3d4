"""The stage that describes every second's frame: what is stored, what is asked again, what becomes of faults."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.store import Cost, Ledger, Store
from llava_v2xum.curate.options import parse_arguments
from llava_v2xum.curate.stages import caption as caption_module
from llava_v2xum.curate.stages import captioners
from llava_v2xum.curate.stages.caption import CaptionStage
from llava_v2xum.curate.stages.captioner import MOST_CHARACTERS, Captioner, clean_caption
from llava_v2xum.curate.stages.captioners import captioner_of
from llava_v2xum.curate.stages.prompts import Prompt
from llava_v2xum.curate.store.stage import Rejected, Source
from llava_v2xum.evaluate.models.frames import Second, read_moments
from llava_v2xum.shapes import make_clip, write_clip

VIDEOS = Path(__file__).parents[3] / "shared" / "videos"
CLIP = make_clip(71, 0)
COUNT = int(CLIP.duration_seconds)
BEFORE = {"select": {"sampled_frames": COUNT}}
PROMPT = Prompt("caption", "What is here?")


def named(name: str, *flags: str):
    """The captioner that the command takes."""
    return captioner_of(parse_arguments(["v", "--out", "o", "--captioner", name, *flags]), Budget())


class Fake(Captioner):
    """Tells a frame's mean; remembers what it was asked."""

    name = "fake"

    def __init__(self, frames_at_once: int = 4, in_flight: int = 1, faults: dict[int, Exception] | None = None) -> None:
        self.frames_at_once, self.in_flight, self.faults = frames_at_once, in_flight, faults or {}
        self.asked: list[tuple[int, str]] = []
        self.most = self.now = 0
        self.lock = threading.Lock()

    def settings(self):
        return {"captioner": self.name}

    def caption(self, frames: np.ndarray, prompt: str):
        with self.lock:
            number = len(self.asked)
            self.asked.append((len(frames), prompt))
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if number in self.faults:
                raise self.faults[number]
            return [told(frame) for frame in frames], Cost(len(frames), 10 * len(frames), len(frames), 0.5)
        finally:
            with self.lock:
                self.now -= 1


def told(frame: np.ndarray) -> str:
    return f"A mean of {frame.mean():.6f}."


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return Source(CLIP.video_id, write_clip(CLIP, tmp_path_factory.mktemp("clips") / f"{CLIP.video_id}.mp4"))


@pytest.fixture(scope="module")
def expected(source) -> list[str]:
    """What the fake tells of each second's frame, read in one go."""
    batches = read_moments(source.path, [Second(second) for second in range(COUNT)])
    return [told(frame) for _, frames in batches for frame in frames]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "work.sqlite")


def ledger_of(store: Store, video_id: str = "one") -> Ledger:
    return Ledger(store, "caption", "print", video_id)


@pytest.mark.parametrize("frames_at_once, in_flight", [(1, 8), (4, 1), (7, 3), (COUNT, 1), (10 * COUNT, 2)])
def test_one_caption_for_every_second_in_its_place(source, store, expected, frames_at_once, in_flight):
    fake = Fake(frames_at_once, in_flight)
    ledger = ledger_of(store)
    assert CaptionStage(fake, PROMPT).work(source, BEFORE, ledger) == {"captions": expected}
    assert sum(count for count, _ in fake.asked) == COUNT
    assert {prompt for _, prompt in fake.asked} == {"What is here?"}
    assert fake.most <= in_flight
    parts = len(fake.asked)
    assert parts == -(-COUNT // frames_at_once)
    assert ledger.spent == store.cost("caption", "print") == Cost(COUNT, 10 * COUNT, COUNT, 0.5 * parts)


@pytest.mark.parametrize("fault", [Failed("down"), Stop("the budget is spent"), KeyboardInterrupt()])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_resumed_in_the_middle_asks_only_for_what_is_not_stored(
    source, store, expected, monkeypatch, fault, in_flight
):
    broken = Fake(in_flight=in_flight, faults={2: fault})
    with pytest.raises(type(fault), match="down|budget|"):
        CaptionStage(broken, PROMPT).work(source, BEFORE, ledger_of(store))
    stored = store.cost("caption", "print").calls
    assert 8 <= stored == sum(count for count, _ in broken.asked) - 4, "all that was answered is stored"

    read: list[float] = []

    def recorded(path, moments, **rest):
        read.extend(moment.second for moment in moments)
        return read_moments(path, moments, **rest)

    monkeypatch.setattr(caption_module, "read_moments", recorded)
    again = Fake(in_flight=in_flight)
    assert CaptionStage(again, PROMPT).work(source, BEFORE, ledger_of(store)) == {"captions": expected}
    assert sum(count for count, _ in again.asked) == len(read) == COUNT - stored

    third = Fake(in_flight=in_flight)
    assert CaptionStage(third, PROMPT).work(source, BEFORE, ledger_of(store)) == {"captions": expected}
    assert not third.asked and len(read) == COUNT - stored


def test_a_fault_names_its_frames(source, store):
    with pytest.raises(Failed, match="frames 4 to 7: down"):
        CaptionStage(Fake(faults={1: Failed("down")}), PROMPT).work(source, BEFORE, ledger_of(store))
    with pytest.raises(Rejected, match="frame 1: filtered") as caught:
        fake = Fake(frames_at_once=1, faults={1: Rejected("caption", "filtered")})
        CaptionStage(fake, PROMPT).work(source, BEFORE, ledger_of(store, "two"))
    assert caught.value.kind == "caption"


def test_an_empty_caption_rejects_the_video_and_is_not_asked_for_again(source, store):
    fake = Fake()
    fake.caption = lambda frames, prompt: (["Something.", "", *["More."] * (len(frames) - 2)], Cost(len(frames)))
    for _ in range(2):
        with pytest.raises(Rejected, match="frame 1: the captioner's answer is empty"):
            CaptionStage(fake, PROMPT).work(source, {"select": {"sampled_frames": 8}}, ledger_of(store))
    assert store.cost("caption", "print").calls == 8


def test_files_that_cannot_be_read(tmp_path, store):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(Rejected) as caught:
        CaptionStage(Fake(), PROMPT).work(Source("broken", broken), BEFORE, ledger_of(store))
    assert caught.value.kind == "unreadable" and str(tmp_path) not in str(caught.value)
    with pytest.raises(Failed, match="gone"):
        CaptionStage(Fake(), PROMPT).work(Source("gone", tmp_path / "gone.mp4"), BEFORE, ledger_of(store))


def test_two_videos_at_a_time_keep_apart(source, store, expected, tmp_path):
    other = make_clip(71, 1)
    file = write_clip(other, tmp_path / "other.mp4")
    seconds = int(other.duration_seconds)
    stage, results = CaptionStage(Fake(in_flight=2), PROMPT), {}

    def work(key: str, where: Source, count: int) -> None:
        results[key] = stage.work(where, {"select": {"sampled_frames": count}}, ledger_of(store, key))["captions"]

    threads = [
        threading.Thread(target=work, args=("one", source, COUNT)),
        threading.Thread(target=work, args=("other", Source("other", file), seconds)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["one"] == expected
    assert len(results["other"]) == seconds and results["other"] != expected[:seconds]


@pytest.mark.skipif(not VIDEOS.is_dir(), reason="no ../shared/videos")
def test_real_videos(store):
    for path in sorted(VIDEOS.glob("*.*")):
        found = CaptionStage(Fake(), PROMPT).work(
            Source(path.stem, path), {"select": {"sampled_frames": 6}}, ledger_of(store, path.stem)
        )
        assert len(set(found["captions"])) > 1, path.name


def test_settings_change_with_prompt_and_captioner():
    stage = CaptionStage(Fake(), PROMPT)
    assert stage.settings() == CaptionStage(Fake(8, 3), PROMPT, workers=5).settings()
    assert stage.settings() != CaptionStage(Fake(), Prompt("caption", "What else?")).settings()
    other = Fake()
    other.name = "another"
    assert stage.settings() != CaptionStage(other, PROMPT).settings()


def test_features_need_a_tower():
    with pytest.raises(ValueError, match="a checkpoint"):
        CaptionStage(Fake(), PROMPT, features="features")
    with pytest.raises(ValueError, match="a checkpoint"):
        Fake().store_features(Path("v.mp4"), "v", "features")


@pytest.mark.parametrize(
    "text, finished, expected",
    [
        ("  A man\n\nwalks.\t ", True, "A man walks."),
        ("A man walks. He is", False, "A man walks."),
        ('He says "go!" It is 3.5 m', False, 'He says "go!"'),
        ("no end at all", False, "no end at all"),
        ("A man walks. He is", True, "A man walks. He is"),
        ("\x00\x1b[31mred\x7f", True, "[31mred"),
        ("half \ud83d a pair", True, "half ? a pair"),
        (" \n\x00 ", True, ""),
        ("", False, ""),
        ("Word. " * MOST_CHARACTERS, True, ("Word. " * MOST_CHARACTERS)[: MOST_CHARACTERS // 6 * 6 - 1]),
    ],
)
def test_captions_are_one_line_and_end_with_a_sentence(text, finished, expected):
    assert clean_caption(text, finished) == expected


def test_names(tmp_path):
    assert named("shapes").name == "shapes"
    assert named("liuhaotian/llava-v1.5-7b").name == "liuhaotian/llava-v1.5-7b"
    assert named(str(tmp_path)).name == tmp_path.name
    with pytest.raises(ValueError, match="config.json"):
        named(str(tmp_path)).settings()
    for name in ("", "nowhere", "./no/such/folder", __file__):
        with pytest.raises(ValueError, match="expected 'shapes'"):
            named(name)
    assert named("shapes", "--caption-endpoint", "http://x/v1").endpoint.model == "shapes"


def test_a_new_captioner_is_a_class_and_a_line(monkeypatch, capsys):
    class Painted(Fake):
        takes = "'painted' tells colours"

        @classmethod
        def add_options(cls, add):
            add("--painted-frames", type=int, default=4, help="of a call")

        @classmethod
        def from_arguments(cls, args, budget):
            return cls(args.painted_frames) if args.captioner == "painted" else None

    monkeypatch.setattr(captioners, "CAPTIONERS", (*captioners.CAPTIONERS, Painted))
    assert named("painted", "--painted-frames", "7").frames_at_once == 7
    assert not isinstance(named("shapes"), Painted)
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "'painted' tells colours" in told and "--painted-frames" in told


def test_a_captioner_can_be_sent_before_and_tells_the_same_settings():
    captioner = named("shapes", "--caption-batch", "3", "--caption-tokens", "9", "--device", "cpu")
    sent = pickle.loads(pickle.dumps(CaptionStage(captioner, PROMPT)))
    assert sent.settings() == CaptionStage(captioner, PROMPT).settings()
    assert (sent.captioner.batch_size, sent.captioner.device) == (3, "cpu")


def test_importing_loads_nothing_heavy():
    code = (
        "import sys; import llava_v2xum.curate.stages.caption, llava_v2xum.curate.stages.vision_endpoint;"
        "from llava_v2xum.curate.stages.captioners import captioner_of;"
        "from llava_v2xum.curate.options import parse_arguments;"
        "captioner_of(parse_arguments(['v', '--out', 'o', '--captioner', 'shapes']), None).settings();"
        "print([name for name in ('torch', 'transformers', 'llava', 'openai', 'PIL') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
