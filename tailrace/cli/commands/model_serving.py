"""``tailrace models chat``, ``serve`` and ``export``: models used where the command is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.local_model import (
    cache_folder,
    local_model,
    replace_process,
    require_export,
    require_serving,
)
from tailrace.cli.options import Json, Server
from tailrace.formats.model.export import ExportDtype, ExportForm

ModelSource = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Imported model (`models/NAME`, with `@version` or `@alias`), a run's final model "
        "(`runs/RUN`), a folder, or a hub id.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        min=8,
        help="Longest sequence, prompt and answer, in tokens (default: the model's, or what fits "
        "half of the free memory).",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--chat-template",
        metavar="TEMPLATE",
        help="Chat template in place of the model's: name of a shipped one, or a file.",
    ),
]
TemplateKwargs = Annotated[
    str | None,
    typer.Option("--chat-template-kwargs", metavar="JSON", help="Variables of the template."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="FOLDER",
        help="Folder for downloads and compiled programs (default: ~/.cache/tailrace).",
    ),
]


def chat(
    model: ModelSource,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="System prompt.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="T", help="0 is greedy (default: 0.7)."),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", metavar="P", help="Probability to draw from (default: 0.95)."),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="K", min=0, help="Tokens to draw from (default: all)."),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option("--repetition-penalty", metavar="R", help="1 changes nothing (default: 1)."),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-new-tokens", metavar="N", min=1, help="Longest answer in tokens (default: 512)."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Seed (default: 42).")
    ] = None,
    context: Context = None,
    chat_template: Template = None,
    template_kwargs: TemplateKwargs = None,
    cache_dir: CacheDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Chat with a model on the terminal, or answer one question per line of standard input.

    It runs on this machine, with the extra `training`; MODEL is fetched once. Ctrl-C stops an
    answer, /help shows the commands, Ctrl-D ends. With --json each answer is one JSON document.
    """
    values = {
        "--system": system,
        "--temperature": temperature,
        "--top-p": top_p,
        "--top-k": top_k,
        "--repetition-penalty": repetition_penalty,
        "--max-new-tokens": max_new_tokens,
        "--seed": seed,
        "--context": context,
        "--chat-template": chat_template,
        "--chat-template-kwargs": template_kwargs,
    }
    arguments = [*_model(model, server, cache_dir), *_options(values)]
    replace_process("training.chat", [*arguments, *(["--json"] if as_json else [])])


def serve(
    model: ModelSource,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to serve on; others than loopback need a key.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port; 0: any free one.")
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            envvar="TAILRACE_API_KEY",
            help="Key that clients must send. Other users of this machine can read it on the "
            "command line for a moment: prefer the variable, or --api-key-file.",
            show_default=False,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file", metavar="FILE", help="File of such keys, one a line, mode 0600."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Further host name under which clients may call the server; repeatable.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the model for clients."),
    ] = None,
    slots: Annotated[
        int, typer.Option("--slots", metavar="N", min=1, help="Answers generated together.")
    ] = 8,
    context: Context = None,
    max_waiting: Annotated[
        int,
        typer.Option("--max-waiting", metavar="N", min=1, help="Requests that wait for a slot."),
    ] = 64,
    request_timeout: Annotated[
        float, typer.Option("--request-timeout", metavar="SECONDS", help="Time for one request.")
    ] = 600.0,
    grace: Annotated[
        float,
        typer.Option("--grace", metavar="SECONDS", help="Time for running answers at the end."),
    ] = 30.0,
    chat_template: Template = None,
    template_kwargs: TemplateKwargs = None,
    cache_dir: CacheDir = None,
    server: Server = None,
) -> None:
    """Serve a model over OpenAI's HTTP API until interrupted.

    It runs on this machine, with the extra `training`; MODEL is fetched once. The log names the
    URL for clients, and the setting with which workers let judges use it.
    """
    values = {
        "--host": host,
        "--port": port,
        "--api-key-file": api_key_file,
        "--name": name,
        "--slots": slots,
        "--context": context,
        "--max-waiting": max_waiting,
        "--request-timeout": request_timeout,
        "--grace": grace,
        "--chat-template": chat_template,
        "--chat-template-kwargs": template_kwargs,
    }
    arguments = [*_model(model, server, cache_dir, name), *_options(values)]
    arguments += [f"--allow-host={host_name}" for host_name in allow_host or []]
    # Not an argument: those are in the list of processes.
    replace_process("training.serve", arguments, {"TAILRACE_API_KEY": api_key} if api_key else {})


def export(
    model: ModelSource,
    target: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="New folder, or with --gguf a new file."),
    ],
    form: Annotated[
        ExportForm,
        typer.Option(
            "--form",
            metavar="FORM",
            help=f"{', '.join(ExportForm)}: the whole model, or its LoRA adapter alone.",
        ),
    ] = ExportForm.MERGED,
    dtype: Annotated[
        ExportDtype,
        typer.Option("--dtype", metavar="TYPE", help=f"Weights: {', '.join(ExportDtype)}."),
    ] = ExportDtype.SOURCE,
    gguf: Annotated[
        bool,
        typer.Option("--gguf", help="Write a GGUF file for llama.cpp; needs the extra `gguf`."),
    ] = False,
    cache_dir: CacheDir = None,
    server: Server = None,
) -> None:
    """Write a model as a folder, an adapter or a GGUF file for other tools.

    It runs on this machine, with the extra `training`; MODEL is fetched once.
    """
    require_export(gguf=gguf)
    local = local_model(model, server, cache_dir)
    arguments = [f"--model={local.source}", f"--output={target}", f"--form={form}"]
    arguments += [f"--dtype={dtype}", f"--name={model}", *(["--gguf"] if gguf else [])]
    replace_process("training.export_model", arguments)


def _model(
    model: str, server: str | None, cache_dir: Path | None, name: str | None = None
) -> list[str]:
    """Return the arguments for a model, which is downloaded if it has to be."""
    require_serving()
    local = local_model(model, server, cache_dir)
    compiled = (cache_folder() if cache_dir is None else cache_dir) / "compiled"
    names = [f"--name={local.name}"] if local.name and not name else []
    return [f"--model={local.source}", *names, f"--cache_dir={compiled}"]


def _options(values: Mapping[str, object]) -> list[str]:
    # With "=" a value may begin with a dash.
    return [f"{name}={value}" for name, value in values.items() if value is not None]
