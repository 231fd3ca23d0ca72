"""Tokens per second of a served model beside the batch engine: ``… served FOLDER [STREAMS …]``.

Clients of the server each stream one answer after another; the engine generates the same answers as
one batch of as many slots. Answers are greedy, and end where the model ends them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from training.data.tokenizer import load_tokenizer

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


def served(url: str, folder: Path, streams: int) -> tuple[float, float, int]:
    """Return tokens per second of all streams, the median time to a first token, and the tokens."""
    work = prompts(folder, streams)
    rates, firsts, tokens = [], [], 0
    for number in range(ROUNDS + 1):
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
        # The first round warms up.
        rates += [tokens / seconds] if number else []
        firsts += [first for _, first in counts] if number else []
    return median(rates), median(firsts), tokens


def batch(generator: Any, folder: Path, streams: int) -> tuple[float, int]:
    """Return the engine's tokens per second for the same answers, and their tokens."""
    from training.generate.sampling import Sampling

    work, rates, tokens = prompts(folder, streams), [], 0
    for number in range(ROUNDS + 1):
        begin = time.perf_counter()
        parts = generator.generate(work, Sampling(max_new_tokens=NEW_TOKENS), streams)
        tokens = sum(answer.count for part in parts for answer in part)
        rates += [tokens / (time.perf_counter() - begin)] if number else []
    return median(rates), tokens


def main(folder: Path, sizes: list[int]) -> None:
    """Print a line for each number of streams."""
    import tempfile

    with tempfile.TemporaryDirectory() as cache:
        server, url = start_server(folder, max(sizes), Path(cache))
        try:
            rows = {streams: served(url, folder, streams) for streams in sizes}
        finally:
            server.terminate()
            server.wait()
    from training.generate.generator import Generator
    from training.models.folder import end_tokens, load_model

    ends = end_tokens(folder) | {load_tokenizer(folder).eos_token_id}
    generator = Generator(*load_model(folder), end_ids=ends)
    for streams, (rate, first, tokens) in rows.items():
        engine, expected = batch(generator, folder, streams)
        if tokens != expected:
            raise RuntimeError(f"{tokens} tokens were served, {expected} generated")
        sys.stdout.write(
            f"{streams} streams: {rate:.1f} tokens/s, first token after {first:.2f} s; "
            f"batch engine {engine:.1f} tokens/s; {rate / engine:.2f}\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]] or [1, 4, 16])
