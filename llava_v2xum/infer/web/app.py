"""The app: a gradio page with LLaVA's names, and beside it the routes of what visitors get.

Its own files, and those of visits, are all that is served; nothing is asked of another machine.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from ...core.errors import V2XumError
from ...core.lengths import Length
from ...core.tasks import ALL, TASKS
from ...media.console import say
from ...media.page.video_page import TASK_NAMES
from ...shapes import DEMO_CLIP
from ..editing import Editing
from ..options import edits
from ..protocols import VideoSummarizer
from .visits import Visits
from .work import check_length, summarized, take_in, write_summary

logger = logging.getLogger(__name__)

TITLE = "V2Xum-LLM: cross-modal video summarization"
ROUTE = "/summary"  # of visits' files
CHOICES = [(TASK_NAMES["both"], "both"), *((TASK_NAMES[task], task) for task in TASKS if task != "both"), ("All", ALL)]
MOST_WAITING = 20  # visitors; our choice: who comes then is told at once
LENGTHS = "30s, 15% or 3 sentences; empty: as it is"
MOST_STAGES = 5  # of `Desk.summarize`
CSS = """
#buttons button { min-width: min(120px, 100%) }
#page iframe { width: 100%; height: 85vh; min-height: 30rem; border: 0 }
"""


@dataclass(frozen=True)
class Limits:
    """What a visitor may bring, and how long it is kept.

    Attributes:
        upload_megabytes: of a file.
        video_seconds: of a video.
        keep_seconds: until a visit is deleted.
    """

    upload_megabytes: int = 500
    video_seconds: float = 3600
    keep_seconds: float = 3600


class Desk:
    """What a click on Send does."""

    def __init__(self, summarizer: VideoSummarizer, visits: Visits, limits: Limits) -> None:
        self.summarizer = summarizer
        self.visits = visits
        self.limits = limits

    def summarize(
        self, upload: str | None, task: str, length: str, temperature: float, max_tokens: float
    ) -> Generator[str, None, str]:
        """Summarize what was dropped.

        Args:
            length: as `--length` takes it, or empty.

        Yields:
            What is being done.

        Returns:
            the path of the page, from the app's root.

        Raises:
            V2XumError: for people.
        """
        if not upload:
            raise V2XumError("Drop a video first, or choose the example.")
        try:
            editing = Editing(Length.of(length.strip()) if length.strip() else None, None)
        except V2XumError as error:
            raise V2XumError(f"The length {error}") from error
        if task != ALL and not edits(task, editing.length):
            raise V2XumError(f"A {task.upper()} summary cannot be {length}: it has no such thing.")
        key, folder = self.visits.new()
        video = take_in(Path(upload), folder)
        yield "Looking at the file"
        check_length(video, self.limits.video_seconds)
        options = {"temperature": temperature, "max_new_tokens": int(max_tokens)}
        made = yield from summarized(self.summarizer, video, task, **options)
        yield "Drawing the page"
        page = write_summary(folder, made, {name: editing.edited(one.record) for name, one in made.items()})
        return f"{ROUTE}/{key}/{page.relative_to(folder).as_posix()}"


def build_demo(desk: Desk, gradio: Any, note: str | None) -> Any:
    """The gradio page, laid out as LLaVA's: what is asked on the left, the answer on the right."""

    def send(upload, task, length, temperature, max_tokens, progress=gradio.Progress()):  # noqa: B008 (gradio asks)
        stages, place = desk.summarize(upload, task, length, temperature, max_tokens), 0
        while True:
            try:
                progress((place + 0.5) / MOST_STAGES, desc=next(stages))
                place += 1
            except StopIteration as end:
                url = quote(end.value)
                break
            except V2XumError as error:
                raise gradio.Error(html.escape(str(error)), print_exception=False) from error
        alone = f'<p><a href="{url}" target="_blank">Open it alone</a></p>'
        return f'<iframe src="{url}" title="The summary"></iframe>{alone}'

    keep_seconds = int(desk.limits.keep_seconds)
    with gradio.Blocks(title="V2Xum-LLM", analytics_enabled=False, delete_cache=(60, keep_seconds)) as demo:
        gradio.Markdown(f"# {TITLE}" + (f"\n\n{note}" if note else ""))
        with gradio.Row():
            with gradio.Column(scale=3):
                video = gradio.Video(label="Video", sources=["upload"], height=260, elem_id="video")
                task = gradio.Radio(CHOICES, value="both", label="Task")
                length = gradio.Textbox(label="Length", placeholder=LENGTHS, max_lines=1)
                gradio.Examples([[str(DEMO_CLIP)]], inputs=[video], label="A demo clip", example_labels=["Demo"])
                with gradio.Accordion("Parameters", open=False):
                    temperature = gradio.Slider(0.0, 1.0, value=0.0, step=0.1, label="Temperature")
                    max_tokens = gradio.Slider(64, 1024, value=1024, step=64, label="Max output tokens")
                with gradio.Row(elem_id="buttons"):
                    submit = gradio.Button("Send", variant="primary")
                    clear = gradio.Button("🗑️  Clear")
                gradio.Markdown(
                    f"Files of at most {desk.limits.upload_megabytes:,} MB. What you bring and get is deleted after "
                    f"{keep_seconds / 60:.0f} minutes."
                )
            with gradio.Column(scale=8):
                page = gradio.HTML(elem_id="page", min_height=300)
        inputs = [video, task, length, temperature, max_tokens]
        submit.click(send, inputs, page, concurrency_limit=1, concurrency_id="model", api_visibility="private")
        clear.click(lambda: (None, None), None, [video, page], queue=False, api_visibility="private")
    demo.queue(max_size=MOST_WAITING, api_open=False)
    return demo


def build_app(summarizer: VideoSummarizer, visits: Visits, limits: Limits) -> Any:
    """The whole app (ASGI)."""
    import gradio
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(ROUTE + "/{key}/{path:path}")
    def of_a_visit(key: str, path: str) -> FileResponse:
        found = visits.file(key, path)
        if found is None:
            raise HTTPException(404)
        return FileResponse(found, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})

    desk = Desk(summarizer, visits, limits)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # the usual are fetched
    readable = {f"button_primary_background_fill{part}": "*primary_700" for part in ("", "_hover")}  # white on it is
    theme = gradio.themes.Default(**fonts).set(**readable)
    return gradio.mount_gradio_app(
        app, build_demo(desk, gradio, summarizer.note), path="/", theme=theme, css=CSS,
        max_file_size=limits.upload_megabytes * 1_000_000, footer_links=[], ssr_mode=False, show_error=True,
    )  # fmt: skip


def serve(summarizer: VideoSummarizer, limits: Limits, work: Path | None, host: str, port: int) -> None:
    """Serve the app until it is interrupted; what visitors have brought is deleted then.

    Raises:
        OSError: if the port is taken.
    """
    import os
    import socket

    import uvicorn

    with TemporaryDirectory(prefix="v2xum-web-", dir=work) as folder, socket.create_server((host, port)) as listener:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        visits = Visits(Path(folder) / "visits", limits.keep_seconds)
        visits.delete_old_ever_after()
        app = build_app(summarizer, visits, limits)
        say(f"open http://{host}:{listener.getsockname()[1]} in a browser; Ctrl-C ends it")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
