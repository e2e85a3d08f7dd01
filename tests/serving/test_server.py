"""The server as a process: it binds to this machine, and ends in order."""

import json
import re
import signal
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest
from forked import Forked, program

from recall_lightning.cli.main import main


@contextmanager
def served(checkpoint, *flags):
    """A running service: its process and its address."""
    process = Forked(program, ["serve", "--ckpt", str(checkpoint), "--port", "0", *flags])
    try:
        while not (found := re.search(r"serving at (http://127\.0\.0\.1:\d+),", "".join(process.lines))):
            assert process.alive, f"it ended before it served: {process.stderr(timeout=60)}"
            time.sleep(0.01)
        yield process, found[1]
    finally:
        process.kill()


def post(address, body):
    request = urllib.request.Request(
        f"{address}/recommend", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def inside(address):
    with urllib.request.urlopen(f"{address}/metrics", timeout=120) as answer:
        return float(re.search(r"^recall_requests_inside (\S+)", answer.read().decode(), re.MULTILINE)[1])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_is_being_answered_when_the_service_is_stopped_gets_its_answer(checkpoint, stop):
    with served(checkpoint, "--wait-ms", "1000") as (process, address):
        answers = []
        body = {"users": [{"user_id": "zoe", "history": ["alien"]}], "k": 2}
        asking = threading.Thread(target=lambda: answers.append(post(address, body)))
        asking.start()
        while inside(address) < 2:  # the one that asks for metrics is one of them
            time.sleep(0.01)
        process.send_signal(stop)
        asking.join()
        assert len(answers[0]["users"][0]["items"]) == 2
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr(timeout=60)


def refusal(capsys, *flags):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--ckpt", "missing.ckpt", *flags])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_the_checkpoint_is_read(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refusal(capsys, "--port", str(port))
    assert f"--host 127.0.0.1 --port {port}: can't be had (Address already in use). Give another port, 0" in told


@pytest.mark.parametrize(("flags", "told"), [
    (["--port", "65536"], "65536 is no port: give one from 0 to 65535"),
    (["--wait-ms", "-1"], "-1 is no wait from 0 to 1000 milliseconds"),
    (["--max-k", "0"], "0 is no whole number from 1 up"),
    (["--port", "0", "--host", "no.such.host.invalid"], "no such address"),
    (["--port", "0"], "missing.ckpt"),
])  # fmt: skip
def test_a_wrong_flag_is_told_in_one_line(capsys, flags, told):
    assert told in refusal(capsys, *flags)
