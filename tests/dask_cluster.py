"""A Dask cluster on this machine for a test: a scheduler and workers as processes of their own, each worker with its own cache."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Cluster:
    """``variables`` are in the environment of all; ``folder`` gets logs, caches (``cache0``, ...) and the workers' own folders."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self.processes, self.variables = folder, [], variables
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"dask://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        words = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        self.scheduler = self._start("scheduler", words, {})
        self.workers: list[subprocess.Popen] = []

    def add_worker(self, *words: str, **variables: str) -> subprocess.Popen:
        n = len(self.workers)
        argv = [
            "worker",
            f"tcp://127.0.0.1:{self.port}",
            "--host",
            "127.0.0.1",
            "--nworkers",
            "1",
            "--nthreads",
            "1",
            "--no-dashboard",
        ]
        argv += ["--name", f"worker{n}", "--local-directory", str(self.folder / f"local{n}"), *words]
        self.workers.append(
            self._start(f"worker{n}", argv, {"SIM3SOLVE_CACHE": str(self.folder / f"cache{n}"), "WORKER": str(n)} | variables)
        )
        return self.workers[-1]

    def wait(self, seconds: float = 60) -> Cluster:
        """Until every worker has come."""
        from distributed import Client

        deadline = time.monotonic() + seconds
        while True:
            try:
                with Client(f"tcp://127.0.0.1:{self.port}", timeout=5, set_as_default=False) as client:
                    if self.workers:
                        client.wait_for_workers(len(self.workers), timeout=seconds)
                    return self
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "scheduler.log").read_text()

    def kept(self, n: int) -> set[str]:
        """The names of what a worker keeps in its cache."""
        folder = self.folder / f"cache{n}" / "cargo"
        return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()

    def _start(self, name: str, words: list[str], variables: dict[str, str]) -> subprocess.Popen:
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                env=os.environ | self.variables | variables,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def cluster(folder: Path, workers: int = 2, **variables: str) -> Iterator[Cluster]:
    """Workers without a nanny: one that is killed stays away."""
    made = Cluster(folder, **variables)
    try:
        for _ in range(workers):
            made.add_worker("--no-nanny")
        yield made.wait()
    finally:
        made.close()
