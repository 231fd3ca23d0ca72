"""Tokens per second of a served model beside the batch engine: ``… served FOLDER [STREAMS …]``.

Clients of the server each stream one answer after another; the engine generates the same answers as
one batch of as many slots. Answers are greedy, and end where the model ends them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from training.data.tokenizer import load_tokenizer
from training.generate.generator import Generator
from training.generate.sampling import Sampling
from training.models.folder import end_tokens, load_model

ROUNDS = 3
NEW_TOKENS = 48
CONTEXT = "512"
ANSWERS = 2
"""Answers of each stream in one round."""
TOPICS = ("the sea", "a small town", "the first snow", "a clever fox", "an old clock", "the moon",
          "a long road", "the market")  # fmt: skip


def prompts(folder: Path, streams: int) -> list[list[int]]:
    """Return a prompt for each answer, about 30 tokens."""
    tokenizer = load_tokenizer(folder)
    texts = [
        f"Story {number}. Once upon a time somebody told the children of the village all about "
        f"{TOPICS[number % len(TOPICS)]}, and it went like this:"
        for number in range(streams * ANSWERS)
    ]
    return [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def start_server(folder: Path, slots: int, cache: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a free port; return it with its URL once every program is compiled."""
    argv = [sys.executable, "-m", "training.serve", "--model", str(folder), "--port", "0"]
    argv += ["--slots", str(slots), "--context", CONTEXT, "--cache_dir", str(cache)]
    server = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    log: Any = server.stderr
    for line in log:
        if match := re.search(r"at (http://\S+)/v1", line):
            threading.Thread(target=log.read, daemon=True).start()
            return server, match[1]
    raise RuntimeError("the server has ended")


def stream(url: str, model: str, work: list[list[int]], counts: list[tuple[int, float]]) -> None:
    """Stream the answers to prompts one after another; append tokens and time to the first."""
    with httpx2.Client(timeout=600) as client:
        for prompt in work:
            body = {"model": model, "prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0,
                    "stream": True, "stream_options": {"include_usage": True}}  # fmt: skip
            begin, first, tokens = time.perf_counter(), 0.0, 0
            with client.stream("POST", f"{url}/v1/completions", json=body) as response:
                for line in response.iter_lines():
                    if not line.startswith("data: {"):
                        continue
                    first = first or time.perf_counter() - begin
                    usage = json.loads(line[6:]).get("usage")
                    tokens = usage["completion_tokens"] if usage else tokens
            counts.append((tokens, first))


def served(url: str, folder: Path, streams: int) -> tuple[float, int, float]:
    """Return tokens per second of all streams, the tokens, and the median time to the first one."""
    work = prompts(folder, streams)
    counts: list[tuple[int, float]] = []
    threads = [
        threading.Thread(target=stream, args=(url, folder.name, work[i::streams], counts))
        for i in range(streams)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    tokens = sum(count for count, _ in counts)
    return tokens / seconds, tokens, median(first for _, first in counts)


def batch(generator: Generator, folder: Path, streams: int) -> tuple[float, int]:
    """Return the batch engine's tokens per second for the same answers, and their tokens."""
    begin = time.perf_counter()
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    parts = generator.generate(prompts(folder, streams), sampling, streams)
    tokens = sum(answer.count for part in parts for answer in part)
    return tokens / (time.perf_counter() - begin), tokens


def race(url: str, generator: Generator, folder: Path, streams: int) -> str:
    """Return the line of a number of streams; both sides take turns, after a round to warm up."""
    rates, firsts, engine_rates = [], [], []
    for number in range(ROUNDS + 1):
        rate, tokens, first = served(url, folder, streams)
        engine_rate, expected = batch(generator, folder, streams)
        if tokens != expected:
            raise RuntimeError(f"{tokens} tokens were served, {expected} generated")
        if number:
            rates.append(rate)
            firsts.append(first)
            engine_rates.append(engine_rate)
    rate, engine_rate = median(rates), median(engine_rates)
    return (
        f"{streams} streams: {rate:.1f} tokens/s, first token after {median(firsts):.2f} s; "
        f"batch engine {engine_rate:.1f} tokens/s; {rate / engine_rate:.2f}\n"
    )


def main(folder: Path, sizes: list[int]) -> None:
    """Print a line for each number of streams."""
    ends = end_tokens(folder) | {load_tokenizer(folder).eos_token_id}
    generator = Generator(*load_model(folder), end_ids=ends)
    with tempfile.TemporaryDirectory() as cache:
        server, url = start_server(folder, max(sizes), Path(cache))
        try:
            for streams in sizes:
                sys.stdout.write(race(url, generator, folder, streams))
                sys.stdout.flush()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]] or [1, 4, 16])
