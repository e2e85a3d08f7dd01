"""The service under load, beside a loop of single requests and a `Recommender` in process.

    python scripts/bench_service.py --ckpt C.ckpt --config configs/movielens-100k.yaml [--requests 20000]

Two processes: a server and this one, its client, over the loopback. Users are drawn from the config's histories. First
one request at a time is sent, then as many as there are connections, to a server as it comes, one that waits for others
and one that ranks users one by one, in turn; answers are held against those of `Recommender.recommend`. Then thousands
of requests, a fifth of them bad in many ways, some of them new items: every good one has to be answered, every bad one
with a status from 400 to 499, and the server's memory must not grow. Times are of the clock; server and client share
whatever cores they are given. The program's own flags are passed on: `--data.reader.init_args.path ...`.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from bench_serving import drawn

from recall_lightning import Recommender

K = 10
SERVERS = {
    "as it comes": [],
    "waits 2 ms": ["--wait-ms", "2"],
    "not batched": ["--users-at-once", "1"],
}


@dataclass
class Sent:
    """A request: what is sent, and which answers are right."""

    kind: str
    raw: bytes
    right: range = range(200, 201)
    user: str = ""


@dataclass
class Tally:
    """What came of requests."""

    seconds: list[float] = field(default_factory=list)  # of the good ones
    wrong: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    answers: dict[str, bytes] = field(default_factory=dict)
    elapsed: float = 0.0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--config", action="append", required=True, help="the config whose histories are used")
    parser.add_argument("--requests", type=int, default=20_000, help="of the load that bad ones are among")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    asked, keys = parser.parse_known_args()
    torch.set_num_threads(1)
    users = drawn(asked.config, keys, 512, 10)
    recommender = Recommender.from_checkpoint(asked.ckpt, device="cpu")
    print(f"{processor()}, {len(os.sched_getaffinity(0))} core(s) for server and client together")
    print(f"{len(recommender.pool):,} items of dim {recommender.vectors.shape[1]}, users of 10 items, top {K}")
    expected = {user: [item for item, _ in recommender.recommend({user: users[user]}, k=K).of(user)] for user in users}

    rows: dict[str, list[tuple[float, list[float]]]] = {}
    in_process(recommender, users, asked.repeats, rows)
    good = [recommend(user, history) for user, history in users.items()]
    with ExitStack() as stack:
        ports = {name: stack.enter_context(served(asked.ckpt, *flags))[0] for name, flags in SERVERS.items()}
        for repeat in range(asked.repeats + 1):
            for name, port in ports.items():
                for way, connections in (("one at a time", 1), (f"{asked.connections} connections", asked.connections)):
                    tally = asyncio.run(sent(port, good, connections))
                    check(tally, expected)
                    if repeat:  # the first warms up
                        rows.setdefault(f"service, {name}, {way}", []).append(
                            (len(good) / tally.elapsed, tally.seconds)
                        )
    print(f"\n{'':44} users/s    p50 ms    p99 ms")
    for name, runs in rows.items():
        seconds = sorted(second for _, some in runs for second in some)
        rate = statistics.median(rate for rate, _ in runs)
        print(f"{name:44} {rate:7,.0f} {quantile(seconds, 0.5):9.2f} {quantile(seconds, 0.99):9.2f}")
    under_load(asked, users)


def in_process(recommender: Recommender, users: dict[str, list[str]], repeats: int, rows: dict) -> None:
    """Calls of one user each, and of all users: what the service is held against."""
    for _ in range(repeats):
        seconds = []
        for user, history in users.items():
            started = time.perf_counter()
            recommender.recommend({user: history}, k=K)
            seconds.append(time.perf_counter() - started)
        rows.setdefault("Recommender in process, a user a call", []).append((len(users) / sum(seconds), seconds))
        started = time.perf_counter()
        recommender.recommend(users, k=K)
        elapsed = time.perf_counter() - started
        rows.setdefault(f"Recommender in process, {len(users)} a call", []).append((len(users) / elapsed, [elapsed]))


def under_load(asked: argparse.Namespace, users: dict[str, list[str]]) -> None:
    """Thousands of requests with bad ones among them; memory by quarters."""
    draw = random.Random(0)
    print(f"\n{asked.requests:,} requests over {asked.connections} connections, a fifth of them bad")
    with served(asked.ckpt) as (port, pid):
        asyncio.run(sent(port, list(mixed(users, draw, 2000)), asked.connections))
        print(f"  {'after a warm-up of 2,000':36} {rss(pid):7.1f} MiB")
        whole = Tally()
        for quarter in range(1, 5):
            tally = asyncio.run(sent(port, list(mixed(users, draw, asked.requests // 4)), asked.connections))
            print(f"  {f'after {quarter * asked.requests // 4:,} more':36} {rss(pid):7.1f} MiB")
            whole.seconds += tally.seconds
            whole.wrong += tally.wrong
            whole.statuses += tally.statuses
            whole.elapsed += tally.elapsed
    seconds = sorted(whole.seconds)
    failed = sum(count for kind, count in whole.wrong.items() if kind.startswith("good"))
    n_bad = sum(whole.statuses.values()) - len(seconds)
    print(f"  good: {len(seconds):,}, of which failed: {failed}")
    print(f"  bad: {n_bad:,}, of which not answered 4xx: {sum(whole.wrong.values()) - failed}")
    print(f"  {sum(whole.statuses.values()) / whole.elapsed:,.0f} requests/s; good ones p50 "
          f"{quantile(seconds, 0.5):.2f} ms, p99 {quantile(seconds, 0.99):.2f} ms")  # fmt: skip
    for name, count in sorted(whole.statuses.items()):
        print(f"    {count:7,}  {name}")


def recommend(user: str, history: list[str], **options: object) -> Sent:
    """A good request of one user."""
    return post(
        "good recommend", "recommend", {"users": [{"user_id": user, "history": history}], "k": K, **options}, user
    )


def post(kind: str, path: str, body: object, user: str = "") -> Sent:
    """A request, good or bad as `kind` begins."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    right = range(200, 201) if kind.startswith("good") else range(400, 500)
    return Sent(kind, head.encode() + content, right, user)


def mixed(users: dict[str, list[str]], draw: random.Random, count: int) -> Iterator[Sent]:
    """Requests of all kinds, a fifth of them bad."""
    names = list(users)
    one = {"user_id": "a", "history": users[names[0]]}
    large = b'{"users": "' + b"x" * (4 * 2**20) + b'"}'
    bad = {
        "broken JSON": ("recommend", b'{"users": [{"user_id": "a", "hist'),
        "no object": ("recommend", [1, 2]),
        "wrong types": ("recommend", {"users": [{"user_id": 7, "history": "50"}], "k": "ten"}),
        "huge k": ("recommend", {"users": [one], "k": 10**9}),
        "unknown field": ("recommend", {"users": [one], "top": 10}),
        "too long a history": ("recommend", {"users": [{"user_id": "a", "history": ["1"] * 1001}]}),
        "too many users": ("recommend", {"users": [{"user_id": str(n), "history": []} for n in range(257)]}),
        "unknown candidates": ("recommend", {"users": [one], "candidates": ["nothing"]}),
        "not a number": ("recommend", b'{"users": [{"user_id": "a", "history": []}], "threshold": NaN}'),
        "half a surrogate pair": ("recommend", b'{"users": [{"user_id": "\\ud800", "history": []}]}'),
        "too deep": ("recommend", b"[" * 100_000),
        "unknown item": ("similar", {"item_id": "nothing"}),
        "too long a text": ("similar", {"text": "x" * 10_001}),
        "an item without a text": ("items", {"items": [{"item_id": "new", "text": ""}]}),
        "wrong path": ("recommendations", {"users": [one]}),
        "wrong method": ("health", {}),
        "too large a body": ("recommend", large),
    }
    for _ in range(count):
        chance, user = draw.random(), draw.choice(names)
        if chance < 0.2:
            kind = draw.choice(list(bad))
            yield post(f"bad: {kind}", *bad[kind])
        elif chance < 0.22:
            yield post("good similar", "similar", {"item_id": draw.choice(users[user])})
        elif chance < 0.24:
            yield post("good similar by text", "similar", {"text": f"a film of {draw.choice(names)}"})
        elif chance < 0.245:  # of a fixed set of ids: whatever grows is a leak
            item = {"item_id": f"new {draw.randrange(20)}", "text": f"a film of {draw.choice(names)}"}
            yield post("good new item", "items", {"items": [item]})
        elif chance < 0.3:
            some = [{"user_id": name, "history": users[name]} for name in draw.sample(names, 8)]
            yield post("good recommend to 8", "recommend", {"users": some, "k": K})
        else:
            yield recommend(user, users[user], include_known=chance > 0.9)


async def sent(port: int, requests: list[Sent], connections: int) -> Tally:
    """Send requests over some connections at a time, each waiting for its answer."""
    tally, waiting = Tally(), iter(requests)
    started = time.perf_counter()
    await asyncio.gather(*(_connection(port, waiting, tally) for _ in range(connections)))
    tally.elapsed = time.perf_counter() - started
    return tally


async def _connection(port: int, requests: Iterable[Sent], tally: Tally) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        if writer.is_closing() or reader.at_eof():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        started = time.perf_counter()
        try:
            writer.write(request.raw)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))
            status = int(head.split(" ", 2)[1])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            head, body, status = "connection: close", b"", type(error).__name__
        if request.kind.startswith("good"):
            tally.seconds.append(time.perf_counter() - started)
        tally.statuses[f"{request.kind}: {status}"] += 1
        if status not in request.right:
            tally.wrong[request.kind] += 1
        elif request.user:
            tally.answers[request.user] = body
        if "connection: close" in head:
            writer.close()
    writer.close()


def check(tally: Tally, expected: dict[str, list[str]]) -> None:
    """Stop where an answer isn't that of the recommender."""
    assert not tally.wrong, tally.wrong
    assert len(tally.answers) == len(expected)
    for user, body in tally.answers.items():
        (found,) = json.loads(body)["users"]
        assert [item["item_id"] for item in found["items"]] == expected[user], f"user {user} got other items"


@contextmanager
def served(checkpoint: str, *flags: str) -> Iterator[tuple[int, int]]:
    """A server on a free port: the port, and its process id."""
    command = [sys.executable, "-m", "recall_lightning", "serve", "--ckpt", checkpoint, "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = next(found for line in process.stderr or [] if (found := re.search(r"serving at \S+:(\d+),", line)))
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        status = process.wait()
    assert status == 0, f"the server ended with status {status}"


def rss(pid: int) -> float:
    """Memory of a process in MiB."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def quantile(seconds: list[float], share: float) -> float:
    """Of ascending seconds, in milliseconds."""
    return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]


def processor() -> str:
    """The processor's own name."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    main()
