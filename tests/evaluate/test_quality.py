"""Grammar and plausibility of summaries: real model code on tiny random weights, and the report made of the scores."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.evaluate.formats.predictions import read_predictions
from llava_v2xum.evaluate.groups.v2t import predicted_text
from llava_v2xum.evaluate.models import quality_models
from llava_v2xum.evaluate.models.quality_models import acceptable_label, parse_scorer
from llava_v2xum.evaluate.reports.quality import (
    QualityReport,
    QualityScores,
    annotated_text,
    quality_rows,
    split_sentences,
    write_quality,
)

WORDS = "a the man dog red sky fish runs sleeps flies is water in . ! ?".split()
SENTENCES = ["a man runs.", "the red dog sleeps in the water!", "fish?", "the sky is a red fish in the sky."]


def write_tokenizer(folder: Path, pad: str, end: str, start: str | None = None) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = [token for token in (pad, end, "<unk>", start) if token]
    vocabulary = {token: number for number, token in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    template = f"{start} $A {end}" if start else f"$A {end}"
    ends = [(token, vocabulary[token]) for token in (start, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token="<unk>", model_max_length=512
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def vera_folder(tmp_path_factory):
    """A folder of Vera's layout: a T5 encoder with the head and the temperature in rows of its embedding."""
    import torch
    from transformers import T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("vera")
    torch.manual_seed(0)
    config = T5Config(vocab_size=32128, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.3)
    model = T5EncoderModel(config)
    model.shared.weight.data.normal_()
    model.shared.weight.data[32097, 0] = 2.5
    model.save_pretrained(folder)
    write_tokenizer(folder, "<pad>", "</s>")
    return folder


@pytest.fixture(scope="module")
def cola_folder(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cola")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, initializer_range=0.5, id2label={0: "unacceptable", 1: "acceptable"},
        label2id={"unacceptable": 0, "acceptable": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    write_tokenizer(folder, "[PAD]", "[SEP]", "[CLS]")
    return folder


@pytest.mark.pinned
def test_vera_is_scored_as_its_card_says(vera_folder):
    """The model card's steps, one text at a time: hidden state of the last token, head, temperature, sigmoid."""
    import torch
    from transformers import AutoTokenizer, T5EncoderModel

    tokenizer, model = AutoTokenizer.from_pretrained(vera_folder), T5EncoderModel.from_pretrained(vera_folder).eval()
    rows = model.shared.weight.detach()
    expected = []
    for text in SENTENCES:
        ids = tokenizer([text], return_tensors="pt").input_ids
        assert ids[0, -1] == tokenizer.eos_token_id
        with torch.no_grad():
            hidden = model(ids).last_hidden_state[0, -1]
        expected.append(torch.sigmoid((hidden @ rows[32099] + rows[32098, 0]) / 2.5).item())
    scorer = parse_scorer(f"vera:{vera_folder}", "plausibility", device="cpu")
    assert (scorer.name, scorer.quality, scorer.source) == ("vera", "plausibility", str(vera_folder))
    scores = scorer.score(SENTENCES)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(scores) > 0.01  # random weights, but the texts do differ
    assert scorer.truncated == 0


@pytest.mark.pinned
def test_cola_is_the_probability_of_the_acceptable_label(cola_folder):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(cola_folder)
    model = AutoModelForSequenceClassification.from_pretrained(cola_folder).eval()
    expected = []
    for text in SENTENCES:
        with torch.no_grad():
            logits = model(**tokenizer([text], return_tensors="pt")).logits[0].double().numpy()
        expected.append(math.exp(logits[1]) / (math.exp(logits[0]) + math.exp(logits[1])))
    scores = parse_scorer(f"cola:{cola_folder}", "grammar", device="cpu").score(SENTENCES)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(scores) > 0.01
    other = parse_scorer(f"cola:{cola_folder}@unacceptable", device="cpu").score(SENTENCES)
    np.testing.assert_allclose(other, 1 - scores, atol=1e-6)


@pytest.mark.pinned
@pytest.mark.parametrize("kind", ["vera", "cola"])
def test_the_company_of_a_text_does_not_matter(kind, vera_folder, cola_folder):
    scorer_class = {"vera": quality_models.VeraScorer, "cola": quality_models.ColaScorer}[kind]
    source = str({"vera": vera_folder, "cola": cola_folder}[kind])
    texts = SENTENCES * 3
    one_by_one = scorer_class(source, batch_size=1, device="cpu").score(texts)
    np.testing.assert_allclose(scorer_class(source, batch_size=5, device="cpu").score(texts), one_by_one, atol=1e-5)
    backwards = scorer_class(source, batch_size=5, device="cpu").score(texts[::-1])
    np.testing.assert_allclose(backwards[::-1], one_by_one, atol=1e-5)
    assert scorer_class(source, device="cpu").score([]).shape == (0,)


def test_what_is_beyond_the_limit_is_not_read_and_counted(cola_folder):
    scorer = parse_scorer(f"cola:{cola_folder}", device="cpu")
    # 12 positions: [CLS], ten words, [SEP]
    ten, eleven, other = "a man " * 5, "a man " * 5 + "runs", "a man " * 5 + "sleeps ."
    scores = scorer.score([ten, eleven, other])
    assert scorer.truncated == 2
    assert scores[0] == pytest.approx(scores[1], abs=1e-6) == pytest.approx(scores[2], abs=1e-6)


@pytest.mark.parametrize("kind", ["vera", "cola"])
def test_a_text_without_words_is_named(kind, vera_folder, cola_folder):
    scorer = parse_scorer(f"{kind}:{ {'vera': vera_folder, 'cola': cola_folder}[kind] }", device="cpu")
    with pytest.raises(ValueError, match="text number 1 has no words"):
        scorer.score(["a man.", "  \n"])


@pytest.mark.pinned
def test_models_that_are_no_such_scorers_are_refused(vera_folder, cola_folder, tmp_path):
    import torch
    from transformers import BertConfig, BertModel, T5Config, T5EncoderModel

    with pytest.raises(ValueError, match="Vera is a T5 encoder, this is a model of type 'bert'"):
        parse_scorer(f"vera:{cola_folder}")
    tiny = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=64, **tiny)).save_pretrained(tmp_path / "small")
    with pytest.raises(ValueError, match="row 32099 of the embedding, this one has 64 rows"):
        parse_scorer(f"vera:{tmp_path / 'small'}")
    plain = T5EncoderModel(T5Config(vocab_size=32128, **tiny))
    with torch.no_grad():
        plain.shared.weight[32097, 0] = -0.1
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="its temperature, above 0, in row 32097 of the embedding, got -0.1"):
        parse_scorer(f"vera:{tmp_path / 'plain'}")
    BertModel(
        BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path / "headless")
    write_tokenizer(tmp_path / "headless", "[PAD]", "[SEP]", "[CLS]")
    with pytest.raises(ValueError, match="expected a trained sequence classifier, .* no weights for classifier"):
        parse_scorer(f"cola:{tmp_path / 'headless'}")
    with pytest.raises(OSError):
        parse_scorer(f"cola:{tmp_path / 'nowhere'}")


def test_which_label_is_the_acceptable_one():
    assert acceptable_label({0: "unacceptable", 1: "acceptable"}, None, "m") == 1
    assert acceptable_label({0: "Grammatical", 1: "ungrammatical"}, None, "m") == 0
    generic = {0: "LABEL_0", 1: "LABEL_1"}
    assert acceptable_label(generic, "LABEL_0", "m") == acceptable_label(generic, "0", "m") == 0
    with pytest.raises(ValueError, match=r"m: which of its labels \(0 LABEL_0, 1 LABEL_1\) .* cola:MODEL@LABEL"):
        acceptable_label(generic, None, "m")
    with pytest.raises(ValueError, match="none called '2'"):
        acceptable_label(generic, "2", "m")
    with pytest.raises(ValueError, match="which of its labels"):
        acceptable_label({0: "correct", 1: "fluent"}, None, "m")  # two that could be it


@pytest.mark.parametrize(
    ("spec", "quality", "message"),
    [
        ("bert", None, "expected cola:MODEL, .* got 'bert'"),
        ("cola", None, "expected cola:MODEL, .* got 'cola'"),
        ("vera:", None, "expected .* got 'vera:'"),
        ("vera:x", "grammar", "vera measures plausibility, not grammar; for that there is: cola, languagetool"),
        ("languagetool", "plausibility", "languagetool measures grammar, not plausibility; .* vera"),
    ],
)
def test_specs_that_name_no_scorer(spec, quality, message):
    with pytest.raises(ValueError, match=message):
        parse_scorer(spec, quality)


class FakeTool:
    """Stands for language_tool_python's LanguageTool: one match for each `teh`."""

    def __init__(self, language):
        if language == "no-java":
            raise ModuleNotFoundError("No java install detected.")
        if language == "old-java":
            raise SystemExit("Could not parse Java version")

    def check(self, text):
        return [object()] * text.split().count("teh")


def test_languagetool_counts_matches_a_word(monkeypatch):
    monkeypatch.setitem(sys.modules, "language_tool_python", SimpleNamespace(LanguageTool=FakeTool))
    scorer = parse_scorer("languagetool", "grammar")
    assert (scorer.name, scorer.source) == ("languagetool", "en-US")
    np.testing.assert_allclose(scorer.score(["A man runs fast.", "teh man runs fast.", "teh teh"]), [1, 0.75, 0])
    with pytest.raises(ValueError, match="text number 0"):
        scorer.score([""])
    for language in ("no-java", "old-java"):
        with pytest.raises(OSError, match=f"LanguageTool .{language}. does not start: .*It needs Java 17"):
            parse_scorer(f"languagetool:{language}")
    monkeypatch.setitem(sys.modules, "language_tool_python", None)
    with pytest.raises(MissingExtra, match=r'pip install "llava_v2xum\[quality\]"'):
        parse_scorer("languagetool")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A man runs. He jumps!  Why? ", ["A man runs.", "He jumps!", "Why?"]),
        ("a man runs. he jumps", ["a man runs.", "he jumps"]),  # no capital and no stop: that is what is judged
        ("Dr. Smith sits. He said \"no.\" Then he left", ["Dr. Smith sits.", 'He said "no."', "Then he left"]),
        ("One line\nanother line.\n\n...", ["One line", "another line."]),
        ("It costs 3.50 dollars.", ["It costs 3.50 dollars."]),
        ("", []),
        (" . ", []),
    ],
)  # fmt: skip
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


@settings(max_examples=30, deadline=None)
@given(st.text(st.sampled_from("ab .!?\n'\"D r"), max_size=40))
def test_splitting_loses_no_letter(text):
    def letters(piece):
        return [character for character in piece if character.isalpha()]

    assert letters("".join(split_sentences(text))) == letters(text)


class ShareOfA:
    """A scorer whose scores are worked out by hand: the share of the letter a, and texts beyond 8 letters are cut."""

    quality = "grammar"

    def __init__(self, name="share"):
        self.name, self.source, self.truncated = name, "letters", 0

    def score(self, texts):
        self.truncated += sum(len(text) > 8 for text in texts)
        return np.array([text.count("a") / len(text) for text in texts])


def test_a_summary_scores_the_mean_of_its_sentences():
    before = {"v1": "aab. bbb.", "v2": "aaab", "v3": " "}
    after = {"v1": "aaaa. aaab.", "v2": "aaaa", "v4": "bb"}
    report = quality_rows(before, after, [ShareOfA()])
    assert report.video_ids == ("v1", "v2", "v3", "v4")
    (scores,) = report.scores
    np.testing.assert_allclose(scores.before, [0.25, 0.75, np.nan, np.nan])  # (2/4 + 0/4) / 2, 3/4
    np.testing.assert_allclose(scores.after, [(4 / 5 + 3 / 5) / 2, 1, np.nan, 0])
    record = report.to_record()["scores"][0]
    assert (record["before"]["summaries"], record["before"]["mean"], record["before"]["median"]) == (2, 0.5, 0.5)
    assert (record["after"]["summaries"], record["after"]["median"]) == (3, pytest.approx(0.7))
    assert record["after"]["mean"] == pytest.approx((0.7 + 1 + 0) / 3)
    difference = record["difference"]  # of v1 and v2, which have both
    assert (difference["summaries"], difference["mean"]) == (2, pytest.approx((0.45 + 0.25) / 2))
    assert difference["low"] == pytest.approx(0.25) and difference["high"] == pytest.approx(0.45)
    assert 0.4 < difference["p"] < 0.6  # two videos, both better: one of the four swaps is the observed, one its mirror
    assert report.notes == (
        "1 of 3 summaries before have no words and no score",
        "1 videos have a summary before only, 1 after only: not in the difference",
    )


def test_a_summary_scored_in_one_piece():
    report = quality_rows({"v1": "aab. bbb.", "v2": " "}, None, [ShareOfA()], unit="text")
    np.testing.assert_allclose(report.scores[0].before, [2 / 9, np.nan])
    assert report.scores[0].after is None and "difference" not in report.to_record()["scores"][0]
    assert report.notes[-1] == "share: 1 texts were longer than the model reads, and were cut"


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from("uvwxyz"), st.text(st.sampled_from("ab. "), max_size=20), min_size=1))
def test_the_columns_equal_a_plain_loop(texts):
    report = quality_rows(texts, None, [ShareOfA()])
    for video_id, score in zip(report.video_ids, report.scores[0].before):
        own = [ShareOfA().score([sentence])[0] for sentence in split_sentences(texts[video_id])]
        assert score == pytest.approx(sum(own) / len(own)) if own else math.isnan(score)


def test_what_cannot_be_scored_is_told():
    with pytest.raises(ValueError, match="no summary to score"):
        quality_rows({}, None, [ShareOfA()])
    with pytest.raises(ValueError, match="no video in common"):
        quality_rows({"a": "x"}, {"b": "x"}, [ShareOfA()])
    with pytest.raises(ValueError, match="scorers of different names, got share, share"):
        quality_rows({"a": "x"}, None, [ShareOfA(), ShareOfA()])
    with pytest.raises(ValueError, match="unit must be one of"):
        quality_rows({"a": "x"}, None, [ShareOfA()], unit="word")
    wrong = ShareOfA()
    wrong.score = lambda texts: np.full(len(texts), 1.5)
    with pytest.raises(ValueError, match="share: expected 1 scores in 0..1"):
        quality_rows({"a": "x"}, None, [wrong])


def test_all_summaries_empty_is_no_figure():
    record = quality_rows({"a": "", "b": " "}, {"a": ""}, [ShareOfA()]).to_record()["scores"][0]
    assert record["before"] == {"summaries": 0, "mean": None, "low": None, "high": None, "median": None}
    assert record["difference"]["mean"] is None


def test_files(tmp_path):
    draw = np.random.default_rng(0)
    before, after = draw.beta(4, 2, 300), draw.beta(9, 1.5, 300)
    before[3] = np.nan
    ids = tuple(f"v{number}" for number in range(300))
    scores = (
        QualityScores("cola", "grammar", "models/$cola_x", before, after, 0),
        QualityScores("vera", "plausibility", "liujch1998/vera", before, after, 2),
    )
    files = write_quality(QualityReport(ids, scores, "sentence"), tmp_path / "out")
    names = ["quality.json", "quality.csv", "quality_cola.png", "quality_vera.png"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)
    record = json.loads(files[0].read_text())
    assert record["videos"] == 300 and [one["name"] for one in record["scores"]] == ["cola", "vera"]
    first = record["scores"][0]
    assert first["before"]["mean"] == pytest.approx(np.nanmean(before))
    assert first["difference"]["low"] < first["difference"]["mean"] < first["difference"]["high"]
    with open(files[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300 and rows[3]["cola_before"] == "" and rows[3]["video_id"] == "v3"
    assert float(rows[7]["vera_after"]) == pytest.approx(after[7], abs=1e-6)


def test_the_picture_shows_both_histograms(tmp_path):
    from PIL import Image

    from llava_v2xum.evaluate.reports.quality_figures import draw_quality

    low, high = np.full(50, 0.21), np.full(50, 0.81)
    draw_quality("grammar", low, high, tmp_path / "both.png")
    pixels = np.asarray(Image.open(tmp_path / "both.png").convert("RGB")).astype(int)
    width = pixels.shape[1]
    orange, blue = np.array([0xE0, 0x8A, 0x2E]), np.array([0x1A, 0x5F, 0xB4])
    columns = [np.flatnonzero((abs(pixels - colour).sum(2) < 40).sum(0) > 100) for colour in (orange, blue)]
    assert all(len(places) for places in columns)
    assert columns[0].max() < width / 2 < columns[1].min()  # the bars and the means stand where the scores are
    draw_quality("nothing", np.full(3, np.nan), None, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


def test_the_text_of_an_annotation():
    sentences = (AnnotatedSentence("A man runs."), AnnotatedSentence("He falls."))
    assert annotated_text(Annotation("v", 2.0, "x", sentences)) == "A man runs. He falls."
    assert annotated_text(Annotation("v", 2.0, "x", sentences, text="He fell.")) == "He fell."
    assert annotated_text(Annotation("v", 2.0, "x", selections=[[0, 1]])) == ""


def test_the_released_models_answers_have_sentences():
    """The real answers beside the project: every one has sentences to score, and no citation is left in them."""
    path = Path(__file__).parents[3] / "shared" / "data" / "released_model_answers.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    texts = {video_id: predicted_text(one) for video_id, one in read_predictions(path).items()}
    assert len(texts) == 300
    assert all(split_sentences(text) for text in texts.values())
    assert not any("[" in text for text in texts.values())


def test_importing_loads_no_heavy_package():
    heavy = ["torch", "transformers", "llava", "language_tool_python", "matplotlib", "scipy"]
    code = (
        f"import sys\nfor name in {heavy}: sys.modules[name] = None\n"
        "import llava_v2xum.evaluate.reports.quality\n"
        "from llava_v2xum.evaluate.models.quality_models import parse_scorer\n"
        "try: parse_scorer('vera:x')\nexcept ImportError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip().endswith('pip install "llava_v2xum[quality]"')
