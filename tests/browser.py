"""A real browser for tests: Chromium without a window, driven over its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

__all__ = ["ARGUMENTS", "CHROMIUM", "Tab", "home_in", "needs_browser", "open_browser"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: chromium (on Debian and Ubuntu: apt install chromium)"
)

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def home_in(directory: Path) -> dict[str, str]:
    """Return the environment of a browser that writes only into this directory."""
    return {**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory), "XDG_CACHE_HOME": str(directory)}


class Browser:
    """The pipe to a browser: commands are numbered, and the answers come in any order."""

    def __init__(self, to_browser: trio.lowlevel.FdStream, from_browser: trio.lowlevel.FdStream) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = trio.Event()
        self.problems: list[str] = []
        """Everything that was written to a console as an error, and every exception of a script."""

    async def read(self) -> None:
        """Take in what the browser says, until it ends."""
        rest = b""
        async for piece in self._from_browser:
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            self._arrived.set()
            self._arrived = trio.Event()
            return
        method, params = message["method"], message["params"]
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(json.dumps(params["entry"]))

    async def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Give a command, and return its result."""
        self._number += 1
        number = self._number
        command = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        await self._to_browser.send_all(json.dumps(command).encode() + b"\0")
        while number not in self._answers:
            await self._arrived.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result


class Tab:
    """One page of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    @property
    def problems(self) -> list[str]:
        return self._browser.problems

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.ask(method, self._session, **params)

    async def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Go to a page, as on a screen of this size with this colour scheme."""
        await self.ask("Runtime.enable")
        await self.ask("Log.enable")
        await self.ask("Page.enable")
        await self.resize(width, height)
        await self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.ask("Page.navigate", url=url)
        await self.wait_for(f"location.href === {url!r} && document.readyState === 'complete'")

    async def resize(self, width: int, height: int) -> None:
        is_phone = width < 600
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )

    async def evaluate(self, script: str) -> Any:
        """Run a script in the page, and return its value."""
        result = await self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_for(self, script: str, seconds: float = 25.0) -> Any:
        """Evaluate a script again and again until its value is true, and return the value."""
        with trio.move_on_after(seconds):
            while not (value := await self.evaluate(script)):  # noqa: ASYNC110  # the page tells nobody
                await trio.sleep(0.05)
            return value
        raise AssertionError(f"not true within {seconds:g} s: {script}")

    async def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        await self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def screenshot(self, *, is_whole: bool = False) -> bytes:
        """Return a picture of what is visible, or of the whole page, as PNG."""
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def open_browser(directory: Path) -> AsyncIterator[Tab]:
    """Run a browser with an empty profile in this directory, and open a tab."""
    assert CHROMIUM is not None
    profile = f"--user-data-dir={directory / 'profile'}"
    # The browser reads commands from its descriptor 3 and writes to 4: the shell puts the ends of the pipes there.
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    command = f'exec "$0" "$@" 3<&{in_read} 4>&{out_write}'
    process = await trio.lowlevel.open_process(
        ["/bin/bash", "-c", command, CHROMIUM, *ARGUMENTS, "--remote-debugging-pipe", profile, "about:blank"],
        pass_fds=(in_read, out_write),
        env=home_in(directory),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(in_read)
    os.close(out_write)
    try:
        async with trio.lowlevel.FdStream(in_write) as to_browser, trio.lowlevel.FdStream(out_read) as from_browser:
            browser = Browser(to_browser, from_browser)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(browser.read)
                target = await browser.ask("Target.createTarget", url="about:blank")
                attached = await browser.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                yield Tab(browser, attached["sessionId"])
                nursery.cancel_scope.cancel()
    finally:
        process.kill()
        await process.wait()
