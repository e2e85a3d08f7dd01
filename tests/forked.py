"""Processes of a test that begin with all imports done: those take ten times as long as what is tested.

They are forks of a server that has imported the package and run nothing, so that they are as good as new.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from types import SimpleNamespace

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["recall_lightning.cli.trainer", "pandas", "torch.distributed.tensor", "transformers.models.bert.modeling_bert"]
)


class Forked:
    """A process that calls a function, and those that Lightning's launcher starts from it, which call it, too.

    Args:
        function: of the first process, and of each that it starts.
        arguments: of the function.
        environment: all variables of the first process.
    """

    def __init__(self, function, *arguments, environment=os.environ):
        said, stderr = SERVER.Pipe(duplex=False)
        self._first = SERVER.Process(target=_begin, args=(function, arguments, dict(environment), stderr))
        self._first.start()
        stderr.close()
        self.lines = []  # that all processes wrote to stderr, as they write them
        self._reader = threading.Thread(target=self._read, args=(said,), daemon=True)
        self._reader.start()

    def _read(self, said):
        with open(os.dup(said.fileno()), encoding="utf-8", errors="replace") as stderr:
            self.lines.extend(stderr)

    @property
    def alive(self):
        """Whether the first process runs."""
        return self._first.exitcode is None

    def kill(self):
        """End the first process, where it runs, and those that it started."""
        if self.alive:
            os.killpg(self._first.pid, signal.SIGKILL)

    def send_signal(self, number):
        """Send it to the first process."""
        os.kill(self._first.pid, number)

    def wait(self, timeout):
        """The status that the first process ends with, as `subprocess.Popen` has it."""
        self._first.join(timeout)
        if self.alive:
            self.kill()
            raise TimeoutError(f"not at its end after {timeout} seconds: {self.stderr(timeout=60)[-4000:]}")
        return self._first.exitcode

    def stderr(self, timeout):
        """What all processes wrote there, which is known when all have ended."""
        self._reader.join(timeout)
        if self._reader.is_alive():
            raise TimeoutError(f"a process has not ended {timeout} seconds later")
        return "".join(self.lines)


def program(arguments):
    """recall-lightning; Ctrl-C stops it even where the tests run in the background, which don't hear that."""
    from recall_lightning.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(arguments)


def _begin(function, arguments, environment, stderr):
    """In the first process: be as a program that was started alone."""
    import torch
    from lightning.pytorch.strategies.launchers import subprocess_script

    os.setsid()  # a group of its own, to be ended together
    os.dup2(stderr.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  # it ends with the process
    stderr.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)  # so that there are no others when it forks

    class Again(subprocess.Popen):
        """In all but its first moment what the launcher makes: a fork in the place of a new Python."""

        def __init__(self, command, env, cwd):
            self.environment = env
            super().__init__(command, env=env, cwd=cwd)

        def _execute_child(self, *_):
            self.pid = os.fork()
            if not self.pid:
                _call(function, arguments, self.environment)
            self._child_created = True

    subprocess_script.subprocess = SimpleNamespace(Popen=Again)
    _call(function, arguments, environment)


def _call(function, arguments, environment):
    """Call it with nothing known of the process that this one is a fork of, and end."""
    from lightning.pytorch.utilities import rank_zero_only

    os.environ.clear()
    os.environ.update(environment)
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))
    status = 1
    try:
        function(*arguments)
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        status = 130  # as a program that Ctrl-C ended in the middle
        traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
