"""A judging model on a server with OpenAI's chat completions API."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpcore2
import tenacity

from tailrace.formats.endpoint_access import KEYS_VARIABLE, EndpointAccess, EndpointUrl
from tailrace.formats.spec.judge_spec import JudgeEndpoint
from training.errors import ConfigError
from training.judges.backends.network import JudgeNetwork, PlaceRefusedError
from training.judges.backends.replies import Reply
from training.judges.base import JudgeError

_log = logging.getLogger(__name__)

FIRST_WAIT = 1.0
"""Seconds before the first retry; doubled for each further one."""

LONGEST_WAIT = 60.0
"""Maximum seconds between two tries, whatever the server requests."""

_MAX_BYTES = 4 << 20
_RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class _TransientError(Exception):
    """A transient failure; ``wait`` is the number of seconds that the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Endpoint:
    """A server, asked with several prompts at a time and with retries after transient failures.

    Timeouts, broken connections, responses that are not of the API, 429 and 5xx are transient. Any
    other failure is a :class:`JudgeError`. Of a response that is not a chat completion only the
    status is shown, because it may come from anywhere. Redirects are not followed, and neither
    netrc files nor proxy variables are read. The key is never shown.
    """

    def __init__(self, spec: JudgeEndpoint, max_new_tokens: int, access: EndpointAccess) -> None:
        """Prepare a connection pool.

        Raises:
            ConfigError: ``access`` does not allow the server, or lacks the key for it.
        """
        self._spec = spec
        self._max_new_tokens = max_new_tokens
        self._url = _url(spec)
        self._key = _key(spec, self._url, access)
        self._network = JudgeNetwork(access)
        try:
            self._network.require_allowed(self._url)
        except PlaceRefusedError as error:
            raise ConfigError(f"the judging endpoint {error}") from error
        self._pool = httpcore2.ConnectionPool(
            max_connections=spec.concurrency, network_backend=self._network
        )

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        """See :meth:`training.judges.backends.judging_model.JudgingModel.ask`."""
        pending: deque[Future[Reply | JudgeError]] = deque()
        remaining = iter(prompts)
        pool = ThreadPoolExecutor(self._spec.concurrency, thread_name_prefix="judge")
        try:
            while True:
                for prompt in remaining:
                    pending.append(pool.submit(self._ask, prompt))
                    if len(pending) >= 2 * self._spec.concurrency:
                        break
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prompt: str) -> Reply | JudgeError:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_attempt(self._spec.max_retries + 1),
            wait=self._wait,
            before_sleep=self._log_retry,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, prompt)
        except _TransientError as error:
            tries = self._spec.max_retries + 1
            return JudgeError(f"the endpoint failed {tries} times, at last: {error}")
        except JudgeError as error:
            return error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        backoff = tenacity.wait_random_exponential(FIRST_WAIT, LONGEST_WAIT)(state)
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.wait if isinstance(error, _TransientError) else 0.0
        return min(LONGEST_WAIT, max(backoff, retry_after))

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
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
        except httpcore2.TimeoutException as error:
            reason = f"{type(error).__name__}: no complete answer in {self._spec.timeout:g} s"
            raise _TransientError(reason) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            # The text of any other error may quote the server's response.
            details = f": {error}" if isinstance(error, httpcore2.ConnectError) else ""
            raise _TransientError(f"{type(error).__name__}{details}") from error
        except PlaceRefusedError as error:
            raise JudgeError(f"the judging endpoint {error}") from error
        if status in _RETRIED_STATUSES:
            raise _TransientError(f"HTTP {status}", wait)
        if status != 200:
            hint = ", and redirects are not followed" if 300 <= status < 400 else ""
            raise JudgeError(f"the endpoint answers HTTP {status}{hint}")
        try:
            return self._reply(content)
        except (ValueError, RecursionError) as error:
            raise _TransientError(f"the answer is not a chat completion: {error}") from error

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Return status, body and Retry-After of one request, all received within the timeout."""
        self._network.deadline.at = time.monotonic() + self._spec.timeout
        content = bytearray()
        with self._pool.stream(
            "POST",
            httpcore2.URL(
                scheme=self._url.scheme,
                host=self._url.host,
                port=self._url.port,
                target=f"{self._url.path.rstrip('/')}/chat/completions",
            ),
            headers=self._headers(),
            content=json.dumps(body).encode(),
            extensions={"timeout": {"pool": self._spec.timeout}},
        ) as response:
            for chunk in response.iter_stream():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise JudgeError(f"the endpoint's answer is longer than {_MAX_BYTES} bytes")
            return response.status, bytes(content), _retry_after(dict(response.headers))

    def _headers(self) -> list[tuple[str, str]]:
        # Without compression, so that a small response cannot expand into a large one.
        return [
            ("Host", self._url.authority),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/json"),
            ("User-Agent", "tailrace"),
            *([("Authorization", f"Bearer {self._key}")] if self._key else []),
        ]

    def _reply(self, content: bytes) -> Reply:
        """Return the message of a chat completion.

        Raises:
            ValueError: The content is not a chat completion.
        """
        try:
            body = json.loads(content)
            text = body["choices"][0]["message"]["content"]
        except ValueError as error:
            raise ValueError("it is not JSON") from error
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("it has no choices[0].message.content") from error
        if not isinstance(text, str):
            raise ValueError("its content is not text")
        usage = body.get("usage")
        total = usage.get("total_tokens") if isinstance(usage, dict) else None
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            total = 0
        return Reply(text.replace(self._key, "***") if self._key else text, total)


def _url(spec: JudgeEndpoint) -> EndpointUrl:
    try:
        return EndpointUrl.of(spec.url)
    except ValueError as error:
        raise ConfigError(f"the judging endpoint's URL {error}") from error


def _key(spec: JudgeEndpoint, url: EndpointUrl, access: EndpointAccess) -> str | None:
    if spec.api_key_env is None:
        return None
    secret = access.secret(spec.api_key_env, url.place)
    if secret is None:
        raise ConfigError(
            f"there is no key {spec.api_key_env} for {url.place}: a worker's operator binds keys "
            f"to hosts in the file that {KEYS_VARIABLE} names; for `python -m training.judge` set "
            f"the environment variable {spec.api_key_env}"
        )
    return secret


def _retry_after(headers: Mapping[bytes, bytes]) -> float:
    """Return the seconds to wait; dates are ignored, since clocks may differ."""
    names = {name.lower(): value for name, value in headers.items()}
    with contextlib.suppress(ValueError):
        seconds = float(names.get(b"retry-after", b""))
        return seconds if 0 <= seconds <= LONGEST_WAIT else LONGEST_WAIT
    return 0.0
