"""A judging model behind OpenAI's chat completions API."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import tenacity

from tailrace.formats.judge_spec import KEY_PREFIX, JudgeEndpoint
from training.errors import ConfigError
from training.judges.asking import Reply
from training.judges.base import JudgeError

_log = logging.getLogger(__name__)

FIRST_WAIT = 1.0
"""Seconds before the first further try; doubles from then on."""

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever the server asks for."""

_MOST_BYTES = 4 << 20
_SHOWN = 200
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class _PassingError(Exception):
    """A failure that may pass; ``wait`` is how many seconds the server asks to be left alone."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Endpoint:
    """Asks a server, several prompts at a time, each again after failures that may pass.

    Timeouts, connections that break, answers that are not of the API, 429 and 5xx may pass. What
    fails for good is a :class:`JudgeError`. The key is read from the environment and shown nowhere.
    """

    def __init__(self, spec: JudgeEndpoint, max_new_tokens: int) -> None:
        self._spec = spec
        self._max_new_tokens = max_new_tokens
        self._key = _key(spec.api_key_env)
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=spec.timeout,
            # Else a netrc file would choose what is sent.
            auth=lambda request: request,
            limits=httpx2.Limits(max_connections=spec.concurrency),
        )

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        """See :class:`training.judges.asking.Asker`."""
        waiting: deque[Future[Reply | JudgeError]] = deque()
        left = iter(prompts)
        pool = ThreadPoolExecutor(self._spec.concurrency, thread_name_prefix="judge")
        try:
            while True:
                for prompt in left:
                    waiting.append(pool.submit(self._ask, prompt))
                    if len(waiting) >= 2 * self._spec.concurrency:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prompt: str) -> Reply | JudgeError:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PassingError),
            stop=tenacity.stop_after_attempt(self._spec.max_retries + 1),
            wait=self._wait,
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, prompt)
        except _PassingError as error:
            tries = self._spec.max_retries + 1
            return JudgeError(f"the endpoint failed {tries} times, at last: {error}")
        except JudgeError as error:
            return error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        longest = tenacity.wait_random_exponential(FIRST_WAIT, LONGEST_WAIT)(state)
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _PassingError) else 0.0
        return min(LONGEST_WAIT, max(longest, asked))

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.warning("judging endpoint: %s; trying again in %.1f s", error, wait)

    def _ask_once(self, prompt: str) -> Reply:
        body = {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self._max_new_tokens,
        }
        try:
            status, content, wait = self._post(body)
        except httpx2.HTTPError as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        except httpx2.InvalidURL as error:
            raise JudgeError(f"the endpoint's URL is refused: {error}") from error
        if status in _RETRIED:
            raise _PassingError(f"HTTP {status}: {self._shown(content)}", wait)
        if status != 200:
            raise JudgeError(f"the endpoint answers HTTP {status}: {self._shown(content)}")
        try:
            return _reply(json.loads(content))
        except (ValueError, RecursionError) as error:
            shown = self._shown(content)
            raise _PassingError(f"no chat completion: {error}; it said {shown!r}") from error

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Status, body and Retry-After of one request; the whole of it within the timeout."""
        deadline = time.monotonic() + self._spec.timeout
        content = bytearray()
        url = self._spec.url.rstrip("/") + "/chat/completions"
        with self._client.stream("POST", url, json=body) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise JudgeError(f"the endpoint's answer is longer than {_MOST_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout(f"no whole answer in {self._spec.timeout:g} s")
            return response.status_code, bytes(content), _retry_after(response)

    def _shown(self, content: bytes) -> str:
        text = content.decode("utf-8", "replace")
        text = text.replace(self._key, "***") if self._key else text
        return text[:_SHOWN]


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable) if variable.startswith(KEY_PREFIX) else None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"the key of the judging endpoint is not in the worker's environment: set {variable}"
        )
    return key


def _retry_after(response: httpx2.Response) -> float:
    """Seconds; the header's other form, a date, is not worth its clock skew."""
    with contextlib.suppress(ValueError):
        seconds = float(response.headers.get("retry-after", ""))
        return seconds if 0 <= seconds <= LONGEST_WAIT else LONGEST_WAIT
    return 0.0


def _reply(body: Any) -> Reply:
    """The message of a chat completion. Raises :class:`ValueError` for anything else."""
    try:
        text = body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("it has no choices[0].message.content") from error
    if not isinstance(text, str):
        raise ValueError("its content is not text")
    usage = body.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        total = 0
    return Reply(text, total)
