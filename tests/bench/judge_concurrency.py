"""A judge that takes 200 ms, 32 requests in flight: how near 256 gradings come to the ideal 1.6 s.

The server runs in a process of its own, so that it does not share the client's interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from tests.bench.result import Result
from tests.bench.scale import sized
from workers.contract.spec import JudgeEndpoint
from workers.grading import Judges, open_grader, validate

LATENCY, IN_FLIGHT, GRADINGS, RUNS, GOAL = 0.2, 32, sized(256, 32), sized(5, 1), 1.15
IDEAL = LATENCY * GRADINGS / IN_FLIGHT
SERVER = f"""
import asyncio, json
BODY = json.dumps({{
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{{"index": 0, "finish_reason": "stop", "logprobs": None,
                  "message": {{"role": "assistant", "content": '{{"steps": [], "result": 1}}'}}}}],
    "usage": {{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}},
}}).encode()
HEAD = "HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: "
REPLY = f"{{HEAD}}{{len(BODY)}}\\r\\n\\r\\n".encode() + BODY

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            await reader.readexactly(size)
            await asyncio.sleep({LATENCY})
            writer.write(REPLY)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
GRADER = {
    "type": "score_model",
    "name": "judge",
    "model": "m",
    "input": [{"role": "user", "content": "How good is {{sample.output_text}}?"}],
}


def run() -> Result:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        seconds = graded(int(server.stdout.readline()))
    finally:
        server.kill()
        server.wait()
    return Result(
        benchmark="judge_concurrency",
        value=round(median(seconds) / IDEAL, 3),
        unit=f"ratio to the ideal {IDEAL:g} s",
        goal=GOAL,
        runs=[round(each / IDEAL, 3) for each in seconds],
        note=f"{GRADINGS} gradings at {1000 * LATENCY:.0f} ms, {IN_FLIGHT} in flight",
    )


def graded(port: int) -> list[float]:
    """Seconds of each batch; the connections are open from the first on."""
    url = f"http://127.0.0.1:{port}/v1"
    endpoint = JudgeEndpoint(base_url=url, model="m", concurrency=IN_FLIGHT, on_this_worker=True)
    seconds = []
    with open_grader(validate(GRADER), judges=Judges({"m": endpoint})) as grade:
        for number in range(RUNS + 1):
            answers = [(f"answer {number} {n}", {}) for n in range(GRADINGS)]
            started = time.perf_counter()
            results = grade(answers)
            seconds.append(time.perf_counter() - started)
            assert all(result.reward == 1 for result in results)
    return seconds[1:]
