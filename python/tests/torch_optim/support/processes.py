# SPDX-License-Identifier: Apache-2.0
"""Two processes joined by gloo, which run functions of the tests.

They are started once and serve every test that needs them, because importing torch takes longer than all that a test
does.  A test sends a function of its module and gets what it returned on each process.  An error, a dead process or a
lapse of time ends both, so no test can be disturbed by what another left in a collective.
"""

import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import connection, get_context
from typing import Any

import torch
import torch.distributed as dist

SIZE = 2


class Processes:
    """Two processes that wait for work."""

    def __init__(self) -> None:
        self._processes: list[Any] = []
        self._pipes: list[Any] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def run(self, function: Callable[..., Any], *arguments: object, timeout: float = 180) -> list[Any]:
        """Call a function on both processes at once.

        Args:
            function: A function at the top of a module, which may use collectives.
            arguments: What it is called with, the same on both.
            timeout: Seconds after which both are ended.

        Returns:
            What it returned on each process, in order of their ranks.

        Raises:
            AssertionError: It raised on a process, or a process died or did not answer in time.
        """
        if not self._processes:
            self._start()
        work = pickle.dumps((function, arguments))
        for pipe in self._pipes:
            pipe.send_bytes(work)
        try:
            return self._answers(time.monotonic() + timeout)
        except BaseException:
            self.stop(at_once=True)
            raise

    def stop(self, at_once: bool = False) -> None:
        """End both processes; the next call starts new ones."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            if not at_once:
                process.join(10)
            process.kill()
            process.join()
            process.close()
        self._processes, self._pipes = [], []
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self) -> None:
        context = get_context("spawn")
        # A new file each time: gloo finds what an earlier pair left in an old one.
        self._folder = tempfile.TemporaryDirectory()
        rendezvous = os.path.join(self._folder.name, "rendezvous")
        for rank in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, rendezvous, theirs), daemon=True)
            process.start()
            # Ours alone is left open here: so a process sees the end of the tests as the end of its pipe.
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _answers(self, deadline: float) -> list[Any]:
        answers: dict[int, Any] = {}
        errors: dict[int, str] = {}
        while len(answers) + len(errors) < SIZE:
            waiting = [pipe for rank, pipe in enumerate(self._pipes) if rank not in answers | errors]
            # The other one may now wait without end in a collective, or be about to say more.
            patience = 1.0 if errors else deadline - time.monotonic()
            ready = connection.wait(waiting, max(0.0, patience))
            for pipe in ready:
                rank = self._pipes.index(pipe)
                try:
                    error, answer = pickle.loads(pipe.recv_bytes())
                except (EOFError, OSError):
                    error, answer = "it died", None
                if error is None:
                    answers[rank] = answer
                else:
                    errors[rank] = error
            if not ready:
                errors |= {rank: "no answer" for rank in range(SIZE) if rank not in answers | errors}
        if errors:
            raise AssertionError("\n".join(f"process {rank}: {error}" for rank, error in sorted(errors.items())))
        return [answers[rank] for rank in range(SIZE)]


def _serve(rank: int, rendezvous: str, pipe: Any) -> None:
    """What a process does: join the other one, then answer until the pipe ends."""
    # The name of the machine need not have an address.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=SIZE, timeout=timedelta(seconds=120)
    )
    with suppress(EOFError, OSError):
        while True:
            work = pipe.recv_bytes()
            try:
                function, arguments = pickle.loads(work)
                answer = pickle.dumps((None, function(*arguments)))
            except BaseException:
                answer = pickle.dumps((traceback.format_exc(), None))
            pipe.send_bytes(answer)
    dist.destroy_process_group()
