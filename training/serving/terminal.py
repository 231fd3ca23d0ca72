"""The terminal of a chat: reads questions, and shows answers while they come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys

from training.data.preview import visible
from training.errors import TrainingError
from training.serving.conversation import Conversation
from training.serving.splitting import Parts

HELP = """\
/reset         forget the conversation
/system TEXT   set the system prompt and forget the conversation (no TEXT: none)
/help          show this help
/exit          end; so does Ctrl-D
Ctrl-C stops an answer.
"""

_DIM, _PLAIN = "\x1b[2m", "\x1b[22m"


class Terminal:
    """Loop over questions, from a person or from a file with one a line."""

    def __init__(self, conversation: Conversation, *, as_json: bool) -> None:
        """Prepare.

        Args:
            conversation: The conversation.
            as_json: Print one JSON document per answer, and nothing else.
        """
        self._conversation = conversation
        self._as_json = as_json
        self._is_person = sys.stdin.isatty()
        self._in_colour = sys.stdout.isatty() and not as_json

    def run(self) -> None:
        """Answer until the input ends.

        Raises:
            TrainingError: A question of a file cannot be answered.
        """
        if self._is_person:
            # Line editing and history, where Python has them.
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401
            self._note(f"{self._conversation.model.name} · /help shows the commands")
        while (line := self._read()) is not None:
            if line and not self._command(line):
                self._answer(line)

    def _read(self) -> str | None:
        """Return the next line without white space around it; None at the end of the input."""
        while True:
            try:
                if not self._is_person:
                    line = sys.stdin.readline()
                    return line.strip() if line else None
                return input("> ").strip()
            except EOFError:
                self._note("")
                return None
            except KeyboardInterrupt:
                if not self._is_person:
                    raise
                self._note("\n(/exit or Ctrl-D ends the chat)")

    def _command(self, line: str) -> bool:
        """Execute a line that is a command; return False for any other."""
        word, _, rest = line.partition(" ")
        if word == "/exit":
            raise SystemExit(0)
        if word == "/help":
            self._note(HELP.rstrip())
        elif word == "/reset":
            self._conversation.reset()
            self._note("the conversation is forgotten")
        elif word == "/system":
            self._conversation.reset()
            self._conversation.system = rest.strip()
            self._note("the system prompt is set" if rest.strip() else "no system prompt")
        else:
            return False
        return True

    def _answer(self, question: str) -> None:
        try:
            with contextlib.closing(self._conversation.ask(question)) as answer:
                for parts in answer:
                    self._show(parts)
        except KeyboardInterrupt:
            if not self._is_person:
                raise
        except TrainingError as error:
            if not self._is_person:
                raise
            self._note(f"error: {error}")
            return
        self._finish()

    def _show(self, parts: Parts) -> None:
        if self._as_json:
            return
        if parts.reasoning and self._in_colour:
            self._write(f"{_DIM}{visible(parts.reasoning)}{_PLAIN}")
        if parts.content:
            self._write(visible(parts.content))

    def _finish(self) -> None:
        exchange = self._conversation.last
        if exchange is None:
            return
        if self._as_json:
            self._write(json.dumps(dataclasses.asdict(exchange), ensure_ascii=False) + "\n")
            return
        self._write("\n")
        notes = {"length": "the answer is cut", "interrupted": "stopped"}
        note = notes.get(exchange.finish_reason, "")
        if exchange.left_out:
            note += f"{', ' if note else ''}{exchange.left_out} older exchanges are left out"
        if note and self._is_person:
            self._note(f"({note})")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _note(self, text: str) -> None:
        if self._is_person:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
