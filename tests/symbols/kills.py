"""Processes that are killed by SIGKILL, which nothing can catch, in the middle of their work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time


def start(command, out):
    """Python code in a process of its own, with a folder as its argument."""
    return subprocess.Popen([sys.executable, "-c", command, str(out)], stdout=subprocess.DEVNULL)


def kill_when(process, ready):
    """Kill a process that still runs when `ready()` is true for the first time."""
    try:
        deadline = time.monotonic() + 300
        while not ready():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
