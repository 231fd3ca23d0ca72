"""``python -m benchmarks.judging``: judge 10,000 predictions; exit with 1 above two seconds.

The answers are sums with and without marker, unit and mistake, and the hand-labelled ones of the
tests, which have many forms; every prediction has a separate item. Reading files is not counted.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import statistics
import sys
import time
from pathlib import Path

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.judges import JudgeSetup, make_judge
from training.judging.calibration import read_labelled
from training.judging.one_judge import judge_predictions
from training.observer import Observer

COUNT = 10_000
ROUNDS = 5
BAR_SECONDS = 2.0
_LABELLED = Path(__file__).parents[2] / "tests" / "judging" / "labelled" / "development.jsonl"


def main() -> int:
    """Measure, print, and return the exit status."""
    cases = [*_sums(COUNT // 2), *_labelled(COUNT - COUNT // 2)]
    items = [dataclasses.replace(item, id=str(i)) for i, (item, _) in enumerate(cases)]
    predictions = [_prediction(item, text) for item, (_, text) in zip(items, cases, strict=True)]
    judge = make_judge(JudgeSetup(JudgeSpec("answer_correctness")))
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        judge_predictions(judge, {"s": items}, predictions, [ModelRole.TRAINED], Observer())
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    verdict = "holds" if median < BAR_SECONDS else "SHORT"
    print(
        f"{verdict}  answer_correctness on {COUNT:,} predictions: {median:.2f} s, median of "
        f"{ROUNDS} ({min(seconds):.2f}-{max(seconds):.2f}); bar {BAR_SECONDS:g} s"
    )
    return int(median >= BAR_SECONDS)


def _sums(count: int) -> list[tuple[EvalItem, str]]:
    generator = random.Random(1)  # noqa: S311 - a seeded workload, not a secret
    cases = []
    for number in range(count):
        a, b = generator.randint(1, 999), generator.randint(1, 999)
        total = a + b + number % 2
        end = f"Answer: {total}" if number % 5 else f"so it is {total}"
        prompt, unit = f"What is {a} + {b}?", "apples" if number % 3 else None
        item = EvalItem(id="", prompt=prompt, expected_answer=str(a + b), unit=unit)
        cases.append((item, f"Calculating {a} + {b} = {total}\n{end}"))
    return cases


def _labelled(count: int) -> list[tuple[EvalItem, str]]:
    answers = itertools.cycle(read_labelled(_LABELLED))
    return [(answer.item, answer.text) for answer in itertools.islice(answers, count)]


def _prediction(item: EvalItem, text: str) -> Prediction:
    return Prediction(
        eval_set="s",
        example_id=item.id,
        model_role=ModelRole.TRAINED,
        prompt=item.prompt,
        text=text,
        finish_reason=FinishReason.EOS,
        prompt_tokens=1,
        completion_tokens=1,
    )


if __name__ == "__main__":
    sys.exit(main())
