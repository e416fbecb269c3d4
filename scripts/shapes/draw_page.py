"""Draw README's picture: the page of the demo clip in a browser, as the command writes it, a sentence chosen.

It wants Chromium on the PATH, and `pip install playwright`.

    python scripts/shapes/draw_page.py --out scripts/guides/page.webp
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llava_v2xum
from llava_v2xum.core.command_line import Parser

DEMO_CLIP = Path(llava_v2xum.__file__).parent / "shapes" / "clips" / "demo.mp4"
WIDTH, HEIGHT, QUALITY = 1100, 800, 60
SENTENCE = 1


def draw(page: Path) -> bytes:
    """The page as a small WebP."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.locator(".sentence").nth(SENTENCE).click()
        tab.wait_for_timeout(500)
        tab.evaluate("document.querySelectorAll('video').forEach((one) => { one.pause(); one.controls = false })")
        tab.mouse.move(0, 0)
        tab.wait_for_timeout(300)
        shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
        browser.close()
    written = io.BytesIO()
    shot.save(written, "WEBP", quality=QUALITY, method=6)
    return written.getvalue()


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("page.webp"), help="the picture (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "llava_v2xum.infer", str(DEMO_CLIP), "--output-dir", folder]
        subprocess.run(command, check=True)
        args.out.write_bytes(draw(Path(folder) / DEMO_CLIP.stem / "index.html"))


if __name__ == "__main__":
    main()
