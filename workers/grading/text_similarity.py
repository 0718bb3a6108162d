"""``text_similarity``: how alike two filled templates are, between 0 and 1.

The settings of each metric are those of ``docs/graders.md``. METEOR matches exact words, then Porter stems;
WordNet is left out, so that a score never depends on what data a machine has downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from workers.grading.results import Grade, Subject, one_by_one
from workers.grading.template import parse_template
from workers.spec import TextSimilarityGrader

if TYPE_CHECKING:
    from workers.grading.opening import Opening

# Bounds the worst case of every metric to a second.
MAX_CHARACTERS = 32_768

_TOKEN = re.compile(r"\w+|[^\w\s]")
Metric = Callable[[str, str], float]


class _NoSynonyms:
    """Stands in for WordNet in NLTK's METEOR."""

    def synsets(self, _word: str) -> list[Any]:
        return []


def fuzzy_match(text: str, reference: str) -> float:
    from rapidfuzz import fuzz, utils

    return float(fuzz.WRatio(text, reference, processor=utils.default_process)) / 100


def bleu(text: str, reference: str) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method4
    return float(sentence_bleu([tokens(reference)], tokens(text), smoothing_function=smoothing))


def gleu(text: str, reference: str) -> float:
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([tokens(reference)], tokens(text)))


def meteor(text: str, reference: str) -> float:
    from nltk.translate.meteor_score import single_meteor_score

    words, expected = tokens(text), tokens(reference)
    return float(single_meteor_score(expected, words, preprocess=str, wordnet=_NoSynonyms()))


def rouge_n(n: int) -> Metric:
    """F1 of the n-grams, by the package rouge-score."""
    variant = f"rouge{n}"

    def score(text: str, reference: str) -> float:
        return float(_rouge_scorer(variant).score(reference, text)[variant].fmeasure)

    return score


def rouge_l(text: str, reference: str) -> float:
    """rouge-score's ``rougeL``, but for its table of all word pairs: 10 GB at the longest texts."""
    from rapidfuzz.distance import LCSseq
    from rouge_score.scoring import fmeasure
    from rouge_score.tokenize import tokenize

    words, expected = tokenize(text, None), tokenize(reference, None)
    if not words or not expected:
        return 0.0
    common = LCSseq.similarity(words, expected)
    return float(fmeasure(common / len(words), common / len(expected)))


@cache
def _rouge_scorer(variant: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([variant], use_stemmer=False)


def tokens(text: str) -> list[str]:
    """Words and single punctuation marks, case kept."""
    return _TOKEN.findall(text)


METRICS: dict[str, Metric] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{n}": rouge_n(n) for n in range(1, 6)},
    "rouge_l": rouge_l,
}


def similarity(metric: str, text: str, reference: str) -> float:
    """The score of ``metric``; 0 if a side is empty."""
    if not text.strip() or not reference.strip():
        return 0.0
    return min(1.0, max(0.0, METRICS[metric](text, reference)))


def opened(grader: TextSimilarityGrader, _: Opening) -> Grade:
    """The grader, ready to grade batches."""
    text, reference = parse_template(grader.input), parse_template(grader.reference)

    def score(subject: Subject) -> float:
        expected = reference.fill_within(MAX_CHARACTERS, subject, "text_similarity")
        given = text.fill_within(MAX_CHARACTERS, subject, "text_similarity")
        return similarity(grader.evaluation_metric, given, expected)

    return one_by_one(score)
