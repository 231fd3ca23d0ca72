"""Words and phrases that the style guide replaces, each with its replacement."""

from __future__ import annotations

import re

OPENER = re.compile(r"(?:What|Whether|How|Where|When|Who|Whose|Which|That|Why)\b")
"""First word of a text that circles around its noun in place of naming it."""

VAGUE = frozenset(
    {
        "found",
        "made",
        "each",
        "kept",
        "wanted",
        "there",
        "said",
        "asked",
        "told",
        "known",
        "held",
        "begun",
        "judged",
        "taken",
        "shown",
        "sent",
        "those",
        "whole",
        "of_run",
        "others",
    }
)
"""Participles and pronouns that name nothing."""

GENERIC = frozenset({"result", "item", "data", "info", "tmp", "obj"})
"""Names that fit everything; sometimes right, so that they are counted and not banned."""

PRIVATE = {
    "sight": "attention mask and positions",
    "Waves": "RoPE cosines and sines",
    "waves": "RoPE cosines and sines",
    "turned_product": "matmul with the transposed weight",
    "_turned_product": "matmul with the transposed weight",
    "Pass": "ForwardContext",
    "Tuning": "TrainableSplit",
    "seat": "prefill",
    "_seat": "prefill",
    "seats": "slots to prefill",
    "_harvest": "collect",
    "WAVES": "admission batches",
    "wave": "admission batch; cosine or sine",
    "Wish": "Directive",
    "Means": "WorkerResources",
    "Held": "LockedRun",
    "Whole": "RunWithStages",
    "laps": "timings",
}
"""Identifiers of the project's own making whose thing has a standard word."""

_IDIOMS = (
    (r"anew", "again"),
    (r"for ever", "without limit; indefinitely"),
    (r"who(?:m)?ever", "the caller, the operator: name who"),
    (r"beside", "next to; in addition to; with"),
    (r"there(?:in|of|upon)|where(?:in|of|upon)|whence|hitherto|henceforth|lest", "plain English"),
    (r"shall", "must; should; will"),
    (r"be had", "be available"),
    (r"is no [a-z]+ of", "is not one of; is not part of"),
    (r"is not there|(?:it|they|that|one) (?:is|are) there", "is missing; exists"),
    (r"it is at it", "name the task"),
    (r"of (?:its|their) own", "its own …; separate; dedicated"),
    (r"(?:lies?|lay) (?:in|on|at|below|beside|under|next to)", "is stored in; is in"),
    (r"(?:are|is|was|were|be|been) told|told", "is given; receives; is reported"),
    (r"tells (?:how|whether|what|why)", "returns; describes"),
    (r"as it (?:then )?is", "unchanged"),
    (r"as there", "because there"),
    (r"(?:some|no)body", "no one; no caller: name who"),
    (
        r"(?<!there\s)(?<!default\s)(?:is|are|was|were) no "
        r"(?!longer|more|less|fewer|different|doubt|further|better|worse|[a-z]+er than)[a-z]+",
        "is not a",
    ),
    (r"(?:come|comes|came|coming|arrives?|arrived) whole", "is complete; arrives complete"),
    (r"at (?:most|least) so (?:many|much)", "maximum number of"),
    (r"(?-i:(?<=;\s)else)", "(default: …)"),
    (r"(?-i:So (?:has|have|is|are|does|do|did|was|were|can|must))", "Likewise, …"),
    (r"what \S+ makes? of", "name the outcome"),
)
_PATTERN = re.compile(
    r"\b(?:" + "|".join(f"({pattern})" for pattern, _ in _IDIOMS).replace(" ", r"\s+") + r")\b",
    re.IGNORECASE,
)


def idioms(text: str) -> list[tuple[int, str, str]]:
    """Return the offset, the phrase and its replacement of every idiom in a text."""
    return [
        (match.start(), " ".join(match.group().split()), _IDIOMS[(match.lastindex or 1) - 1][1])
        for match in _PATTERN.finditer(text)
    ]
