# SPDX-License-Identifier: Apache-2.0
"""What does a page look like in a browser? Chromium without a screen and without a network, by the DevTools protocol.

    sudo .venv/bin/python3 -m tests.harness.browser PAGE.html PICTURE.png [WIDTH HEIGHT [dark]]

CHROMIUM names another program than Debian's chromium-headless-shell or chromium. The protocol is spoken over two pipes,
descriptors 3 and 4, with a NUL after each message. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_TIMEOUT = 60.0
# https://github.com/GoogleChrome/chrome-launcher/blob/main/docs/chrome-flags-for-tools.md
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
# What a page says if something in it is wrong or is not permitted.
_COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
_KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def chromium() -> str:
    """Its path, or "" if there is none."""
    named = os.environ.get("CHROMIUM", "")
    return named or next((path for path in map(shutil.which, _NAMES) if path), "")


class Browser:
    """One page at a time, in a network namespace that has not even a loopback device that is up."""

    def __init__(self) -> None:
        self._directory: AbstractContextManager[str] = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = self._directory.__enter__()
        here, there = os.pipe(), os.pipe()
        try:
            self._process = self._start(profile, here[0], there[1])
        finally:
            os.close(here[0])
            os.close(there[1])
        self._to, self._from = here[1], there[0]
        self._waiting = b""
        self._events: list[dict[str, Any]] = []
        self._number = 0
        self._session = ""
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _start(profile: str, commands: int, answers: int) -> subprocess.Popen[bytes]:
        # The shell puts the pipes where Chromium looks for them.
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        # In a pid namespace: no process that Chromium has made outlives it.
        argv = [
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            chromium(),
            *_FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        return subprocess.Popen(
            ["bash", "-c", script, "bash", *argv],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile},
        )

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do what a method of the protocol does, and return its result. Raises RuntimeError with the browser's words."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._events.append(answer)
        raise AssertionError("not reached: _messages ends with an exception only")

    def _messages(self) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + _TIMEOUT
        while True:
            while b"\0" not in self._waiting:
                if not select.select([self._from], [], [], until - time.monotonic())[0]:
                    raise TimeoutError("Chromium does not answer")
                part = os.read(self._from, 1 << 16)
                if not part:
                    raise RuntimeError(f"{chromium()} has ended: {self._process.wait()}")
                self._waiting += part
            message, _, self._waiting = self._waiting.partition(b"\0")
            yield json.loads(message)

    def open(
        self, path: Path, *, width: int = 1400, height: int = 900, dark: bool = False, media: str = "screen"
    ) -> None:
        """Show a file, and forget what the one before has said."""
        self._events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        for message in self._messages():
            if message.get("method") == "Page.loadEventFired":
                return
            self._events.append(message)

    def complaints(self) -> list[dict[str, Any]]:
        """What has been written to the console, by the page or about it."""
        self.value("0")  # what comes before its answer has been said
        return [event for event in self._events if event["method"] in _COMPLAINTS]

    def requests(self) -> list[str]:
        """The addresses of all that was asked for."""
        self.value("0")
        sent = [event for event in self._events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def value(self, expression: str) -> Any:
        """An expression's value, as JSON has it; the page's policy doesn't hold for it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go: Tab, Enter or space."""
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of what can be seen, or of the whole page."""
        area: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            area = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **area)["data"])

    def paper(self) -> bytes:
        """A PDF of it, as printed on A4."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """End it, and remove its files."""
        self._session = ""
        self.call("Browser.close")
        self._process.wait(_TIMEOUT)
        os.close(self._to)
        os.close(self._from)
        self._directory.__exit__(None, None, None)


def main(page: str, picture: str, width: str = "1400", height: str = "900", scheme: str = "light") -> int:
    """Take a picture of a page."""
    browser = Browser()
    try:
        browser.open(Path(page).resolve(), width=int(width), height=int(height), dark=scheme == "dark")
        Path(picture).write_bytes(browser.picture())
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
