"""The endpoint of an OpenAI-compatible server: a real one on this machine, and each fault that it can meet."""

from __future__ import annotations

import base64
import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

pytest.importorskip("openai")
pytest.importorskip("jsonschema")

from openai_server import PASSING, OpenAIServer, Seeded

from llava_v2xum.core.endpoint import endpoint as endpoint_module
from llava_v2xum.core.endpoint.budget import Budget
from llava_v2xum.core.endpoint.dialect import SCHEMA_REQUEST, Dialect
from llava_v2xum.core.endpoint.endpoint import Endpoint
from llava_v2xum.core.endpoint.faults import Fault, check_hope
from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.replies import read_completion, read_value

KEY = "sk-test-0123456789abcdefghij"
SCHEMA = {
    "type": "object",
    "properties": {"frames": {"type": "array", "items": {"type": "integer"}}},
    "required": ["frames"],
    "additionalProperties": False,
}
QUESTION = [{"role": "user", "content": "0: a\n1: b\n2: c\n3: d"}]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, none of which is waited for."""
    waited: list[float] = []
    clock = SimpleNamespace(sleep=waited.append, monotonic=time.monotonic, time=time.time)
    monkeypatch.setattr(endpoint_module, "time", clock)
    return waited


def of(server: OpenAIServer, **options) -> Endpoint:
    options = {"timeout_seconds": 20.0, "backoff_seconds": 0.01, **options}
    return Endpoint(server.base_url, "tiny", **options)


def failure(server: OpenAIServer, error: type[Exception] = Failed, **options) -> str:
    with pytest.raises(error) as caught:
        of(server, **options).chat(QUESTION, SCHEMA)
    # a traceback shows these too, and they hold the request with its key
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return str(caught.value)


def test_an_answer_with_its_cost():
    with OpenAIServer() as server:
        reply = of(server).chat(QUESTION, SCHEMA, max_tokens=50)
        assert (reply.text, reply.value, reply.problem) == ('{"frames": [0, 3]}', {"frames": [0, 3]}, None)
        assert (reply.cost.calls, reply.cost.prompt_tokens, reply.cost.completion_tokens) == (1, 8, 3)
        body = server.asked[0].body
        assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("tiny", 0, 0, 50)
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
        text = of(server, temperature=None, seed=None).chat([{"role": "user", "content": "Hello"}])
        assert (text.text, text.value, text.problem) == ("You said: Hello", None, None)
        assert set(server.asked[1].body) == {"model", "messages"}


def test_pictures_reach_the_captioner():
    seen = []
    with OpenAIServer(captions=lambda pictures, prompt: seen.append((pictures, prompt)) or "A dog.") as server:
        url = "data:image/png;base64," + base64.b64encode(b"\x89PNG one").decode()
        content = [{"type": "text", "text": "Describe."}, {"type": "image_url", "image_url": {"url": url}}]
        assert of(server).chat([{"role": "user", "content": content}]).text == "A dog."
    assert seen == [([b"\x89PNG one"], "Describe.")]


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fault):
    with OpenAIServer(faults=[fault], slow_seconds=0.6) as server:
        reply = of(server, timeout_seconds=0.3 if fault == "slow" else 20.0).chat(QUESTION, SCHEMA)
        assert reply.value == {"frames": [0, 3]} and reply.cost.calls == 2 == len(server.asked)


def test_nobody_there_is_a_failure(pauses):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(Failed, match="no answer in 3 tries: no connection"):
        Endpoint(address, "tiny", tries=3).chat(QUESTION)
    assert len(pauses) == 2


def test_pauses_double_by_chance_and_follow_the_server(pauses):
    with OpenAIServer(faults=["500"] * 5) as server:
        assert "no answer in 5 tries: HTTP 500" in failure(server, tries=5, backoff_seconds=8.0)
        assert len(server.asked) == 5
    for pause, longest in zip(pauses, (8, 16, 32, 60), strict=True):  # 60: the most
        assert longest / 2 <= pause <= longest
    pauses.clear()
    for header, least, most in (("7", 7, 8), ("900", 60, 60), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 1), ("x", 0.5, 1)):
        with OpenAIServer(faults=["429"], retry_after=header) as server:
            of(server, backoff_seconds=1.0).chat(QUESTION, SCHEMA)
        assert least <= pauses.pop() <= most


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("401", Stop, "refuses the key (the environment variable OPENAI_API_KEY is set): HTTP 401"),
        ("403", Stop, "refuses access: HTTP 403"),
        ("404", Stop, "no such model or address (does it end in /v1?): HTTP 404"),
        ("400", Failed, "refuses the request: HTTP 400"),
    ],
)
def test_what_cannot_pass_is_not_tried_again(fault, error, said):
    with OpenAIServer(faults=[fault] * 2) as server:
        assert said in failure(server, error)
        assert len(server.asked) == 1


def test_what_servers_name_their_faults():
    with pytest.raises(Stop, match="the account has nothing left: no money"):
        check_hope(Fault("no money", 429, code="insufficient_quota"), "")
    assert check_hope(Fault("too fast", 429, code="rate_limit_exceeded"), "") is None
    assert Fault("no", 400, code="content_filter").filtered and not Fault("no", 400, code="bad").filtered


def test_a_missing_key_is_told(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with OpenAIServer(faults=["401"]) as server:
        assert "OPENAI_API_KEY is not set" in failure(server, Stop)
        assert server.asked[0].headers["authorization"] == "Bearer none"


def test_the_key_is_shown_nowhere(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    told = []
    with OpenAIServer(faults=["500", "401"]) as server:  # both repeat the header
        endpoint = of(server)
        with pytest.raises(Stop) as caught:
            endpoint.chat(QUESTION, SCHEMA)
        told += [str(caught.value), repr(caught.value), repr(endpoint), repr(pickle.dumps(endpoint))]
        assert "Bearer ***" in str(caught.value)
    with OpenAIServer(text=lambda text: f"Your key is {KEY}.") as server:
        reply = of(server).chat(QUESTION)
        assert reply.text == "Your key is ***."
    told += [str(endpoint.settings()), caplog.text]
    assert caplog.text and KEY not in " ".join(told)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY} and more")
    with pytest.raises(Stop, match="characters that no key has") as caught:
        of(server).chat(QUESTION)
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="must hold no name and key") as refused:
        Endpoint(f"https://user:{KEY}@host/v1", "tiny")
    assert KEY not in str(refused.value)


def test_a_placeholder_key_does_not_touch_the_answers(monkeypatch):
    monkeypatch.setenv("LOCAL_KEY", "EMPTY")
    with OpenAIServer(text=lambda text: "An EMPTY street.") as server:
        assert of(server, api_key_env="LOCAL_KEY").chat(QUESTION).text == "An EMPTY street."


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("bad_json", "is no JSON"), ("empty", "is empty"), ("length", "was cut off")],
)
def test_what_the_model_did_wrong_is_told_and_paid_once(fault, problem):
    with OpenAIServer(faults=[fault]) as server:
        reply = of(server).chat(QUESTION, SCHEMA)
        assert problem in reply.problem and reply.value is None and reply.cost.calls == 1


def test_servers_are_asked_as_they_take_it(caplog):
    question = [*QUESTION]
    with OpenAIServer(formats=("json_object",), refuses=("max_tokens", "temperature")) as server:
        endpoint = of(server)
        assert endpoint.chat(question, SCHEMA, 50).cost.calls == 4  # three refusals
        assert endpoint.chat(question, SCHEMA, 50).cost.calls == 1  # remembered
        body = server.asked[-1].body
        assert body["max_completion_tokens"] == 50 and body["response_format"] == {"type": "json_object"}
        assert "max_tokens" not in body and "temperature" not in body and body["seed"] == 0
        assert SCHEMA_REQUEST in body["messages"][-1]["content"] and question == QUESTION
    assert caplog.text.count("asked in another way") == 3
    with OpenAIServer(formats=()) as server:
        reply = of(server).chat(QUESTION, SCHEMA)
        assert reply.value == {"frames": [0, 3]} and "response_format" not in server.asked[-1].body


def test_a_refusal_about_something_else_changes_nothing():
    dialect = Dialect()
    body = dialect.request(QUESTION, SCHEMA, 5, {"temperature": 0, "seed": 0})
    assert dialect.after("the context of 4096 tokens is too short; a hand plants a seed", body) is None
    assert dialect.after("response_format", dialect.request(QUESTION, None, 5, {})) is None


@pytest.mark.parametrize("said", [
    "Failed to initialize samplers: failed to parse grammar",  # llama.cpp
    "This model does not support response format `json_schema`",
    "Structured outputs are not available for this model",
])  # fmt: skip
def test_words_of_servers_that_take_no_schema(said):
    body = Dialect().request(QUESTION, SCHEMA, 5, {})
    assert Dialect().after(said, body) == Dialect("json_object")


def test_an_environment_that_allows_no_request_stops_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(Stop, match="proxies or certificates cannot be used"):
        Endpoint("https://127.0.0.1:1/v1", "tiny", tries=1).chat(QUESTION)


class _Moved(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(307)
        self.send_header("Location", self.server.elsewhere + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


def test_what_is_asked_goes_to_no_other_server():
    with OpenAIServer() as other, HTTPServer(("127.0.0.1", 0), _Moved) as moved:
        moved.elsewhere = other.base_url
        threading.Thread(target=moved.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with pytest.raises(Stop, match=f"is at another address: HTTP 307: '{other.base_url}"):
            Endpoint(f"http://127.0.0.1:{moved.server_port}/v1", "tiny").chat(QUESTION)
        moved.shutdown()
        assert not other.asked


def test_what_was_asked_in_vain_bears_its_cost(pauses):
    with OpenAIServer(faults=["500"] * 3 + ["429", "401"]) as server:
        with pytest.raises(Failed) as failed:
            of(server, tries=3).chat(QUESTION)
        with pytest.raises(Stop) as stopped:
            of(server).chat(QUESTION)
    assert (failed.value.cost.calls, stopped.value.cost.calls) == (3, 2)


def test_the_budget_of_requests_is_never_passed(pauses):
    budget = Budget(max_requests=5)
    with OpenAIServer(faults=["500", "429"]) as server:
        endpoint = of(server, budget=budget)
        assert endpoint.chat(QUESTION).cost.calls == 3  # the tries that failed count
        assert [endpoint.chat(QUESTION).cost.calls for _ in range(2)] == [1, 1]
        with pytest.raises(Stop, match=r"5 requests is spent \(--max-requests\)"):
            endpoint.chat(QUESTION)
        assert len(server.asked) == 5 == budget.requests


def test_the_budget_of_tokens_stops_before_the_next_request():
    with OpenAIServer() as server:
        endpoint = of(server, budget=Budget(max_tokens=15))
        for _ in range(2):  # 11 each
            endpoint.chat(QUESTION, SCHEMA)
        with pytest.raises(Stop, match="15 tokens is spent: 22 so far"):
            endpoint.chat(QUESTION, SCHEMA)
        assert len(server.asked) == 2


def test_tokens_that_are_not_told_are_said(caplog):
    with OpenAIServer(usage=False) as server:
        endpoint = of(server)
        costs = [endpoint.chat(QUESTION).cost for _ in range(2)]
        assert [(cost.calls, cost.prompt_tokens, cost.completion_tokens) for cost in costs] == [(1, 0, 0)] * 2
    assert caplog.text.count("tells no tokens") == 1


def test_many_threads_share_a_bounded_endpoint():
    budget = Budget(max_requests=1000)
    with OpenAIServer(faults=Seeded(0.4, kinds=("429", "500", "cut")), answer_seconds=0.01) as server:
        endpoint = of(server, concurrency=3, budget=budget)
        questions = [[{"role": "user", "content": f"Number {number}"}] for number in range(40)]
        with ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(endpoint.chat, questions))
        assert [reply.text for reply in replies] == [f"You said: Number {number}" for number in range(40)]
        assert 2 <= server.most_at_once <= 4  # one whose connection was cut may still be ending in the server
        calls = sum(reply.cost.calls for reply in replies)
        assert 40 < calls == len(server.asked) == budget.requests
        assert set(server.answered.values()) == {1}


def test_a_spent_budget_lets_the_requests_on_their_way_end():
    with OpenAIServer(answer_seconds=0.2) as server:
        endpoint = of(server, budget=Budget(max_requests=3))
        ends: Counter[str] = Counter()

        def ask(number: int) -> None:
            try:
                ends[endpoint.chat([{"role": "user", "content": f"{number}"}]).text[:8]] += 1
            except Stop:
                ends["stopped"] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends == {"You said": 3, "stopped": 2}


def test_a_pickled_endpoint_answers():
    with OpenAIServer() as server:
        endpoint = of(server, budget=Budget(max_requests=9))
        endpoint.chat(QUESTION, SCHEMA)
        copy = pickle.loads(pickle.dumps(endpoint))
        assert copy.chat(QUESTION, SCHEMA).value == {"frames": [0, 3]}
        assert (copy.budget.requests, endpoint.budget.requests) == (2, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "localhost:8000"}, "expected an address such as"),
        ({"base_url": "http://host/v1?key=1"}, "expected an address such as [^=]*$"),
        ({"base_url": "http://host/v1#key=1"}, "expected an address such as [^=]*$"),
        ({"base_url": "http://host:port/v1"}, "expected an address such as"),
        ({"base_url": "http://host:99999/v1"}, "expected an address such as"),
        ({"base_url": "http://a host/v1"}, "expected an address such as"),
        ({"base_url": "user:name@host/v1"}, "must hold no name and key"),
        ({"model": ""}, "model must be named"),
        ({"tries": 0}, "tries must be positive"),
        ({"concurrency": -1}, "concurrency must be positive"),
    ],
)
def test_settings_that_are_none(options, said):
    with pytest.raises(ValueError, match=said):
        Endpoint(**{"base_url": "http://host/v1", "model": "tiny", **options})


@pytest.mark.parametrize(
    "text",
    [
        '{"frames": [1, 2]}',
        'Here it is:\n```json\n{"frames": [1, 2]}\n```\nDone {not JSON}.',
        'I choose {"frames": [1, 2]} here.',
        'For\n```json\n{"type": "object"}\n```\nthis is it:\n```json\n{"frames": [1, 2]}\n```',
        '{"frames": [1.0, 2]}',
    ],
)
def test_json_is_found_in_what_models_write(text):
    assert read_value(text, SCHEMA) == {"frames": [1, 2]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I do not know.", "is no JSON: 'I do not know.'"),
        ('{"frames": [NaN]}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"frames": ["\\ud800"]}', "is no JSON"),
        ('{"frames": [true]}', "does not fit its schema at ['frames'][0]: \"True is not of type"),
        ('{"frames": "1"}', "does not fit its schema at ['frames']"),
        ('{"frame": [1]}', "does not fit its schema"),
        ("[1]", "does not fit its schema"),
    ],
)
def test_json_that_is_none(text, said):
    with pytest.raises(ValueError) as caught:
        read_value(text, SCHEMA)
    assert said in str(caught.value) and len(str(caught.value)) < 500


def completion(message: str, finish: str = '"stop"', usage: str = "null") -> bytes:
    return f'{{"choices": [{{"message": {message}, "finish_reason": {finish}}}], "usage": {usage}}}'.encode()


def test_bodies_are_read_for_what_they_are():
    thought = '{"content": " <think>\\n{\\"a\\": 1}</think>\\n A dog. "}'
    read = read_completion(completion(thought, usage='{"prompt_tokens": 3}'))
    assert (read.text, read.problem, read.prompt_tokens, read.completion_tokens) == ("A dog.", None, 3, None)
    assert read_completion(completion('{"content": "a\\ud800b"}')).text == "a?b"
    assert read_completion(completion('{"content": "<s> A dog.</s>\\n<|im_end|>"}')).text == "A dog."
    assert read_completion(completion('{"content": "</s>"}')).problem == "the answer is empty"
    assert "refused: 'No.'" in read_completion(completion('{"content": null, "refusal": "No."}')).problem
    assert "content filter" in read_completion(completion('{"content": "A"}', '"content_filter"')).problem
    assert read_completion(completion('{"content": "A"}', usage='{"prompt_tokens": -1}')).prompt_tokens is None
    for text in ("I saw {x}.\\n</think> A dog.", "<thinking>Hm.</thinking>A dog."):  # the first tag is of the prompt
        assert read_completion(completion(f'{{"content": "{text}"}}')).text == "A dog."
    parts = '{"content": [{"type": "thinking", "text": "Hm."}, {"type": "text", "text": "A dog."}, {"type": "text"}]}'
    assert read_completion(completion(parts)).text == "A dog."
    cut = read_completion(completion('{"content": "<think>It may be a dog. Or"}', '"length"'))
    assert (cut.text, "cut off" in cut.problem) == ("", True), "a thought is no answer"
    long = read_completion(completion(f'{{"content": "{"A dog. " * 10**6}"}}'))
    assert len(long.text) < 1000 and long.problem == "the answer has 6999999 characters"
    for body in (b"", b"\xff", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": "A"}]}'):
        with pytest.raises(ValueError, match="the body is no"):
            read_completion(body)
    with pytest.raises(ValueError, match="no JSON: '<p>Log in</p>'"):
        read_completion(b"<p>Log in</p>")


def test_importing_loads_no_extra():
    code = "import sys, llava_v2xum.core.endpoint.endpoint; print({'openai', 'jsonschema', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
