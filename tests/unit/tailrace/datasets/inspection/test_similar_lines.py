from __future__ import annotations

from tailrace.datasets.inspection.similar_lines import SimilarLines


def pairs(*texts: str) -> list[tuple[int, int]]:
    similar = SimilarLines()
    for line, text in enumerate(texts, start=1):
        similar.add(line, text, [text])
    return [(pair.line, pair.earlier) for pair in similar.pairs()]


STORY = "the old ship left the harbour at dawn and nobody on the pier waved to its captain"


def test_a_line_with_another_word_at_its_end_is_nearly_the_same() -> None:
    assert pairs(STORY, "something else altogether", STORY + " again") == [(3, 1)]


def test_case_and_punctuation_do_not_count() -> None:
    assert pairs(STORY, STORY.upper().replace(" AT ", ", AT ") + "!") == [(2, 1)]


def test_equal_records_are_repetitions_and_no_pair() -> None:
    assert pairs(STORY, STORY) == []


def test_lines_that_share_half_of_their_words_are_different() -> None:
    half = STORY[: len(STORY) // 2]
    assert pairs(STORY, f"{half} while a band played songs that were popular years before") == []


def test_the_most_similar_earlier_line_is_named() -> None:
    assert pairs(STORY + " of old friends", STORY + " of", STORY + " of tea") == [(2, 1), (3, 2)]


def test_a_prompt_that_all_lines_begin_with_makes_no_pairs() -> None:
    system = " ".join(f"rule{i}" for i in range(60))
    questions = [f"{system} tell me about topic{i} and item{i} and case{i}" for i in range(300)]
    assert pairs(*questions) == []


def test_texts_without_a_run_of_words_are_left_out() -> None:
    assert pairs("yes", "no", "yes no") == []
