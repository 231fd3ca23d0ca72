"""The page: one HTML file that includes its style, script and pictures.

All text of a run is escaped, control characters included. A content security policy with the
digests of the page's style and script keeps a browser from running or fetching anything else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tailrace.cli.run_report import examples, facts, scores
from tailrace.cli.run_report.contents import CURVES, REWARD, Contents
from tailrace.cli.run_report.curve import Points, chart
from tailrace.cli.show import output, run_view
from tailrace.client.runs import TERMINAL_STATES


def page(contents: Contents, now: datetime) -> str:
    """Return the page of a run as of ``now``, in UTC."""
    run = contents.run
    run_scores = run_view.scores(run)
    comparisons = [c for stage in run.stages for c in stage.result.judge.comparisons]
    return (
        _environment()
        .get_template("page.html")
        .render(
            run=run,
            run_id=run_view.run_id(run),
            state=run_view.run_state(run),
            ended=run.state in TERMINAL_STATES,
            now=f"{now:%Y-%m-%d %H:%M:%S} UTC",
            version=version("tailrace"),
            summary=facts.summary(run),
            chart=chart(_only(contents.curves, *CURVES)),
            reward_chart=chart(_only(contents.curves, REWARD)),
            rollouts=contents.rollouts,
            preflight=contents.preflight,
            cards=[scores.card(score) for score in run_scores],
            differences=[scores.difference(comparison) for comparison in comparisons],
            gates=[(scores.gate_outcome(gate), gate) for gate in run.gates],
            examples=contents.examples,
            more_examples=contents.more_examples,
            counts=examples.counts(contents.examples),
            spec=facts.spec_text(run),
            stages=[facts.stage_facts(stage) for stage in run.stages],
            digests=facts.digests(run, contents.artifacts),
            provenance=contents.provenance,
            history=[(facts.utc(change.time), change) for change in run.history],
            **_own_code(),
        )
    )


def _only(curves: Mapping[str, Points], *names: str) -> dict[str, Points]:
    return {name: curves[name] for name in names if name in curves}


def _own_code() -> dict[str, str]:
    """Return style and script, each with the source expression that allows it."""
    variables: dict[str, str] = {}
    for name, file in (("style", "style.css"), ("script", "page.js")):
        text, _, _ = _LOADER.get_source(_environment(), file)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        variables |= {name: Markup(text), f"{name}_source": Markup(f"'sha256-{digest}'")}  # noqa: S704
    return variables


def _environment() -> Environment:
    environment = Environment(
        loader=_LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["rank"] = examples.ORDER.index
    environment.filters["loss"] = output.loss
    return environment


def _printable(value: Any) -> Any:
    return output.printable(value) if type(value) is str else value


_LOADER = PackageLoader("tailrace.cli.run_report", "")
