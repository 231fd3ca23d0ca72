"""A tiny student and its teacher, with the same tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tailrace.formats.data.record import Record, dump_line
from tests.unit.training.conftest import TINY
from training.data.tokenizer import train_tokenizer
from training.loop.final_model import save_folder
from training.models.registry import model_from_config

NO_DROPOUT = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)


def save_student_and_teacher(
    folder: Path, records: Sequence[Record], rows: tuple[int, int] = (0, 0)
) -> tuple[Path, Path]:
    """Write the folders of a model and of a deeper, surer teacher.

    ``records`` make the tokens; the embeddings have ``rows`` more than these.
    """
    tokenizer = train_tokenizer([dump_line(record) for record in records], 280, context=64)
    folders = folder / "student", folder / "teacher"
    for place, layers, scale, more in zip(folders, (1, 2), (1.0, 6.0), rows, strict=True):
        network = model_from_config(
            TINY | NO_DROPOUT | {"n_layer": layers, "vocab_size": len(tokenizer) + more}
        )
        weights = {name: scale * value for name, value in network.init(layers).items()}
        place.mkdir(parents=True)
        save_folder(place, network, weights, tokenizer)
    return folders
