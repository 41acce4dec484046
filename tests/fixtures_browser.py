"""A headless browser that shows a page, and is ended with all of its processes if it hangs."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

BROWSER: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT_SECONDS: Final = 120


def dump_dom(page: str, profile: Path, *options: str) -> tuple[str, str]:
    """The document as the browser has it after its scripts ran, and what it wrote to standard error.

    Raises:
        TimeoutError: if it does not end; its helper processes hold the pipes, so killing it alone would wait for them.
        subprocess.CalledProcessError: if it fails.
    """
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", *options]
    command += [f"--user-data-dir={profile}", "--dump-dom", page]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as browser:
        try:
            dom, log = browser.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(browser.pid, signal.SIGKILL)
            raise TimeoutError(f"the browser did not show {page} within {TIMEOUT_SECONDS} s") from None
    if browser.returncode:
        raise subprocess.CalledProcessError(browser.returncode, command, dom, log)
    return dom, log
