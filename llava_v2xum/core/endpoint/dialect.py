"""What servers that speak the OpenAI protocol differ in: how JSON is asked for, and which settings they take.

A request begins with what the protocol has; a server that refuses one of these by name is asked without it, then and
from there on. Known cases: llama.cpp, Ollama and vLLM take `json_schema`; DeepSeek and older servers only
`json_object`; LM Studio takes `json_schema` but no `json_object`; some take no response_format at all. OpenAI's
reasoning models refuse `max_tokens` (for `max_completion_tokens`) and a temperature; some servers refuse a seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# "Failed to initialize samplers: failed to parse grammar" is llama.cpp's
_FORMAT_REFUSED = re.compile(
    r"response.?format|json.?schema|json_object|structured.?output|parse grammar|grammar is not", re.IGNORECASE
)
_OPTIONAL = ("temperature", "seed")

SCHEMA_REQUEST = "Answer with one JSON object that fits this JSON schema, and with nothing else:"


@dataclass(frozen=True)
class Dialect:
    """How to ask one server.

    Args:
        json_format: how it is asked for JSON: "json_schema", "json_object", or "prompt": in words alone.
        limit: the name of the most tokens to answer with.
        refused: settings that it does not take.
    """

    json_format: str = "json_schema"
    limit: str = "max_tokens"
    refused: frozenset[str] = frozenset()

    def request(
        self,
        messages: Sequence[Mapping[str, Any]],
        schema: Mapping[str, Any] | None,
        max_tokens: int | None,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The body of a request, without the model's name.

        Args:
            settings: temperature and seed; one that is None is left out.
        """
        body: dict[str, Any] = {"messages": [dict(message) for message in messages]}
        body.update({name: value for name, value in settings.items() if value is not None and name not in self.refused})
        if max_tokens is not None:
            body[self.limit] = max_tokens
        if schema is None:
            return body
        if self.json_format == "json_schema":
            form = {"name": "answer", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        else:
            # as part of the last message: some chat templates take neither a system message nor two of one role
            last = body["messages"][-1]
            last["content"] = f"{last['content']}\n\n{SCHEMA_REQUEST}\n{json.dumps(schema)}"
            if self.json_format == "json_object":
                body["response_format"] = {"type": "json_object"}
        return body

    def after(self, refusal: str, asked: Mapping[str, Any]) -> Dialect | None:
        """How to ask from here on.

        Args:
            refusal: what the server said to a request, its whole body.
            asked: the request's body.

        Returns:
            None, if the refusal is about none of the things that can be asked in another way.
        """
        if "response_format" in asked and _FORMAT_REFUSED.search(refusal):
            return replace(self, json_format="json_object" if self.json_format == "json_schema" else "prompt")
        if "max_tokens" in asked and "max_completion_tokens" in refusal:
            return replace(self, limit="max_completion_tokens")
        for name in _OPTIONAL:  # in quotes: the word alone may be of a caption that the server repeats
            if name in asked and re.search(rf"['\"`]{name}['\"`]", refusal):
                return replace(self, refused=self.refused | {name})
        return None
