"""A page in headless Chromium, without a driver: a script that is added to the page leaves its findings in the DOM."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FIRST = """<script>
window.errors = [];
window.addEventListener("error", (event) => errors.push(event.message));
console.error = (...parts) => errors.push(parts.join(" "));
</script>"""
LAST = """<script>
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const pause = (ms = 50) => new Promise((done) => setTimeout(done, ms));
(async () => {
  await pause();
  const result = await (async () => {%s})();
  const found = JSON.stringify({result, errors, requests: performance.getEntriesByType("resource").map((e) => e.name)});
  window.parent.document.body.insertAdjacentHTML("beforeend", '<pre id="result"></pre>');
  window.parent.document.querySelector("#result").textContent = found;
})();
</script>"""


def chromium() -> str:
    """The browser's path; without one the test is skipped, but fails under .ci/run."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("CI") == "true":
        pytest.fail("no Chromium is installed")
    pytest.skip("no Chromium is installed")


def browse(page: str, script: str, folder: Path, width: int = 1440, blocked: bool = False) -> Any:
    """What the script, the body of an async function, returns in the page at that width.

    Errors of the page fail the test, and so does a request for anything outside it; `blocked`: the script itself asks
    for what the page's policy forbids.
    """
    probed = page.replace("<title>", f"{FIRST}<title>", 1).replace("</body>", f"{LAST % script}</body>")
    frame = f'<iframe style="width: {width}px; height: 844px" srcdoc="{html.escape(probed)}"></iframe>'
    path = folder / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    done = subprocess.run([chromium(), *options], capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert match, console or done.stderr
    found = json.loads(html.unescape(match[1]))
    asked = [name for name in found["requests"] if not name.startswith("data:")]
    assert blocked or (found["errors"], console, asked) == ([], [], [])
    return found["result"]
