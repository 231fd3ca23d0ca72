"""``tailrace datasets derive``: datasets from the judged predictions of a run."""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.options import Description, EvalSetName, Json, Server, connect
from tailrace.cli.show import output
from tailrace.cli.show.datasets import print_dataset
from tailrace.datasets.derivation.derive import Pairs, Selection, derive
from tailrace.datasets.derivation.where import PASSES
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.record import DatasetKind


class DerivedKind(enum.StrEnum):
    """Kind of a derived dataset."""

    COMPLETION = DatasetKind.COMPLETION.value
    """Every selected prediction, as the answer to its prompt."""
    PREFERENCE = DatasetKind.PREFERENCE.value
    """Selected predictions, each with one of the same prompt that was not selected."""


def derive_(
    run: Annotated[
        str,
        typer.Option("--from", metavar="RUN", help="Run with judged predictions (`runs/…`)."),
    ],
    dataset_id: Annotated[str, typer.Option("--id", metavar="ID", help="Id of the dataset.")],
    kind: Annotated[
        DerivedKind, typer.Option("--kind", help="Kind of the dataset.")
    ] = DerivedKind.COMPLETION,
    where: Annotated[
        str,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Verdicts of selected predictions, such as `outcome = pass AND score >= 0.8`.",
        ),
    ] = PASSES,
    judge: Annotated[
        str,
        typer.Option(
            "--judge", metavar="JUDGE", help="Judge whose verdicts count (default: the only one)."
        ),
    ] = "",
    role: Annotated[
        ModelRole, typer.Option("--role", help="Model that generated the predictions.")
    ] = ModelRole.TRAINED,
    eval_set: EvalSetName = "",
    pairs: Annotated[
        Pairs, typer.Option("--pairs", help="Pairs of a prompt, for preferences.")
    ] = Pairs.FIRST,
    description: Description = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Make a dataset of a run's predictions that a judge's verdicts select.

    A `completion` dataset has each selected prediction. A `preference` dataset pairs the first
    selected sample of a prompt with the first other one that was judged without an error; --pairs
    all takes every pair. Answers are the whole generated text, thinking included. The dataset
    records the run, the judge, its version and the condition.
    """
    selection = Selection(
        run=run,
        kind=DatasetKind(kind.value),
        judge=judge,
        where=where,
        role=role,
        eval_set=eval_set,
        pairs=pairs,
    )
    with (
        connect(server) as client,
        tempfile.TemporaryDirectory(prefix="tailrace-derive-") as folder,
    ):
        file = Path(folder) / "dataset.jsonl"
        with file.open("wb") as target:
            derivation = derive(client, selection, target)
        dataset = client.import_dataset(
            dataset_id,
            file,
            description=description,
            kind=derivation.kind,
            lineage=derivation.lineage,
        )
    if as_json:
        document = {
            "dataset": output.plain(dataset),
            "predictions": derivation.predictions,
            "selected": derivation.selected,
            "duplicates": derivation.duplicates,
        }
        output.print_json(document)
        return
    counts = [
        ("judged", derivation.predictions),
        ("selected", derivation.selected),
        ("duplicates", derivation.duplicates or ""),
    ]
    print_dataset(dataset, False, counts)
