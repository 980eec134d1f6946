"""A headless browser, if one is installed."""

import html
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support import tools

_NAMES = (
    os.environ.get("CHROME_BIN", ""),
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "chromium-headless-shell", "chrome-headless-shell",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip

_FLAGS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-extensions",
)  # fmt: skip

SCHEMES = {"dark": 0, "light": 1}


def dom_of(page: str, scheme: str = "light") -> str:
    """Open a page of our own in the browser; return its document once it has loaded."""
    browser = tools.find(*filter(None, _NAMES)) or tools.program("chromium")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        # A container's root has no sandbox; the page is ours and has no network to go to.
        flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        done = subprocess.run(  # noqa: S603 - a browser on our own page
            [
                browser, *flags, f"--user-data-dir={folder}/profile",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
                "--dump-dom", file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )  # fmt: skip
    return done.stdout


def measure(page: str, script: str, width: int = 1200, scheme: str = "light") -> Any:
    """Show a page in a frame this many pixels wide; return what the script makes of its `doc`.

    The script is outside of the page, and is the body of a function.
    """
    frame = (
        "<!doctype html><meta charset=utf-8><body><pre id=result></pre><script>"
        f"function look(doc) {{ {script} }}"
        "function loaded(frame) { document.getElementById('result').textContent ="
        " JSON.stringify(look(frame.contentDocument)); }</script>"
        f'<iframe width={width} height=900 onload="loaded(this)" srcdoc="{html.escape(page)}">'
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', dom_of(frame, scheme), re.DOTALL)
    assert found is not None
    return json.loads(html.unescape(found[1]))
