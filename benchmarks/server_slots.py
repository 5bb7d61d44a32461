"""What share of a server's slots the transport keeps busy, beside the bare client of OpenAI with a semaphore.

A scripted server in a process of its own has 8 slots and takes 50 ms for an answer, so it can give 160 a second. Asked
for the same number of answers in turn: the transport, which has to find out how many requests to have under way, and
the bare client with as many as there are slots. Printed: answers a second, share of the slots, what an answer took of a
processor on this side, most requests under way by the server's count, and the ratio of the two rates.

    OMP_NUM_THREADS=1 python -m benchmarks.server_slots [--answers 1600] [--out FILE]
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai

from solon.lm.server.address import Address
from solon.lm.server.client import ServerTransport

SLOTS, SECONDS = 8, 0.05
SERVE = """
import sys
from tests.servers.scripted import ScriptedServer, answer, say
def plan(seen):
    counts = {"most_at_once": server.most_at_once, "most_busy": server.most_busy}
    if seen.path == "/counts":
        server.most_at_once = server.most_busy = 0
        return say(200, counts)
    return answer
with ScriptedServer(plan, slots=int(sys.argv[1]), seconds=float(sys.argv[2])) as server:
    print(server.root, flush=True)
    sys.stdin.read()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1600)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with _serving() as root:
        bare = _measure(_ask_bare, root, arguments.answers)
        transport = _measure(_ask_transport, root, arguments.answers)
    ratio = transport["answers_a_second"] / bare["answers_a_second"]
    found = {"slots": SLOTS, "seconds": SECONDS, "answers": arguments.answers}
    found |= {"bare": bare, "transport": transport, "ratio": round(ratio, 3)}
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _serving() -> Any:
    command = [sys.executable, "-c", SERVE, str(SLOTS), str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def _measure(ask: Callable[[str, int], Awaitable[float]], root: str, answers: int) -> dict[str, float]:
    computed = time.process_time()
    seconds = asyncio.run(ask(root, answers))  # type: ignore[arg-type]
    computed = time.process_time() - computed
    counts = httpx2.get(f"{root}/counts", trust_env=False).json()
    rate = answers / seconds
    return {
        "answers_a_second": round(rate, 1),
        "share_of_slots": round(rate * SECONDS / SLOTS, 3),
        "own_milliseconds_an_answer": round(1000 * computed / answers, 2),
        **counts,
    }


async def _ask_bare(root: str, answers: int) -> float:
    http = httpx2.AsyncClient(trust_env=False)
    turns = asyncio.Semaphore(SLOTS)
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{root}/v1", max_retries=0, http_client=http) as client:

        async def one(number: int) -> None:
            async with turns:
                await client.post("/completions", cast_to=httpx2.Response, body={"n": number})

        return await _time(one, answers)


async def _ask_transport(root: str, answers: int) -> float:
    transport = ServerTransport(Address((f"{root}/v1",), "m"), keys={})
    try:
        return await _time(lambda number: transport.post("completions", {"n": number}), answers)
    finally:
        await transport.aclose()


async def _time(one: Callable[[int], Awaitable[Any]], answers: int) -> float:
    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(answers)))
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
