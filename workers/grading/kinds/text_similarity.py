"""``text_similarity``: how alike two filled templates are, between 0 and 1.

The settings of each metric are those of ``docs/graders.md``. METEOR matches exact words, then Porter stems;
WordNet is left out, so that a score never depends on what data a machine has downloaded. Texts of all scripts
are compared: scripts that put no spaces between words are compared by character.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import regex

from workers.contract.graders import TextSimilarityGrader
from workers.contract.json_types import JsonObject
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind, NormalisePart
from workers.grading.results import Grade, GraderInvalid, Subject, one_by_one
from workers.grading.template import parse_template

# Bounds the worst case of every metric to a second.
MAX_CHARACTERS = 32_768

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*"
_TOKEN = regex.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})[\w\p{{M}}])+|[^\w\s]")
_WORD = regex.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})[\p{{L}}\p{{M}}\p{{N}}])+")
# rouge-score's own rule, and the same for these texts.
_ASCII_WORD = regex.compile(r"[a-z0-9]+")
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
    return float(sentence_bleu([split_tokens(reference)], split_tokens(text), smoothing_function=smoothing))


def gleu(text: str, reference: str) -> float:
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([split_tokens(reference)], split_tokens(text)))


def meteor(text: str, reference: str) -> float:
    from nltk.translate.meteor_score import single_meteor_score

    words, expected = split_tokens(text), split_tokens(reference)
    return float(single_meteor_score(expected, words, preprocess=str, wordnet=_NoSynonyms()))


def rouge_n(n: int) -> Metric:
    """Return a metric: F1 of the n-grams of words, by the package rouge-score."""
    variant = f"rouge{n}"

    def score(text: str, reference: str) -> float:
        return float(_rouge_scorer(variant).score(reference, text)[variant].fmeasure)

    return score


def rouge_l(text: str, reference: str) -> float:
    """Return rouge-score's ``rougeL`` without its table of all word pairs (10 GB for the longest texts)."""
    from rapidfuzz.distance import LCSseq
    from rouge_score.scoring import fmeasure

    words, expected = split_words(text), split_words(reference)
    if not words or not expected:
        return 0.0
    common = LCSseq.similarity(words, expected)
    return float(fmeasure(common / len(words), common / len(expected)))


@cache
def _rouge_scorer(variant: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([variant], tokenizer=_RougeTokenizer())


class _RougeTokenizer:
    """Stands in for rouge-score's, which drops every letter beyond a to z."""

    def tokenize(self, text: str) -> list[str]:
        return split_words(text)


def split_words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation."""
    return list((_ASCII_WORD if text.isascii() else _WORD).findall(text.lower()))


def split_tokens(text: str) -> list[str]:
    """Return words and single punctuation marks, case kept."""
    return list(_TOKEN.findall(text))


METRICS: dict[str, Metric] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{n}": rouge_n(n) for n in range(1, 6)},
    "rouge_l": rouge_l,
}


def compute_similarity(metric: str, text: str, reference: str) -> float:
    """Return the score of ``metric``: 1 for equal texts, 0 if a side is empty."""
    if not text.strip() or not reference.strip():
        return 0.0
    if text.strip() == reference.strip() and not explain_zeros(metric, reference):
        return 1.0
    return min(1.0, max(0.0, METRICS[metric](text, reference)))


def explain_zeros(metric: str, reference: str) -> str:
    """Return why the metric gives nothing but 0 beside this reference; empty if it gives more."""
    if metric in LEAST_WORDS:
        least, found = LEAST_WORDS[metric], len(split_words(reference))
        if found < least:
            return f"{metric} needs {least} or more words in the reference, this has {found}; {ALL_ZERO}"
    if metric == "fuzzy_match" and reference.strip() and not _WORD.search(reference):
        return f"fuzzy_match reads letters and digits only, the reference has none; {ALL_ZERO}"
    return ""


ALL_ZERO = "every answer scores 0"
LEAST_WORDS = {"rouge_l": 1, **{f"rouge_{n}": n for n in range(1, 6)}}


def open_text_similarity(grader: TextSimilarityGrader, _: GradingContext) -> Grade:
    """Return the grader, ready to grade batches."""
    text, reference = parse_template(grader.input), parse_template(grader.reference)
    metric = grader.evaluation_metric

    def score(subject: Subject) -> tuple[float, str]:
        expected = reference.fill_within(MAX_CHARACTERS, subject, "text_similarity")
        given = text.fill_within(MAX_CHARACTERS, subject, "text_similarity")
        return compute_similarity(metric, given, expected), explain_zeros(metric, expected)

    return one_by_one(score)


NO_COSINE = "cosine compares embeddings, and no embedding model is set; take another metric, such as rouge_l"


def normalise_text_similarity(raw: JsonObject, _: NormalisePart) -> JsonObject:
    """Refuse OpenAI's metric ``cosine`` by a reason of its own."""
    if raw.get("evaluation_metric") == "cosine":
        raise GraderInvalid("evaluation_metric", NO_COSINE)
    return raw


KIND = GraderKind(
    definition=TextSimilarityGrader,
    label="Text similarity",
    explanation="Between 0 and 1: how similar completion and reference are, by BLEU, ROUGE and others.",
    example={
        "type": "text_similarity",
        "name": "similar",
        "input": ANSWER,
        "reference": REFERENCE,
        "evaluation_metric": "fuzzy_match",
    },
    fields=(
        form_fields.INPUT,
        form_fields.REFERENCE,
        FormField("evaluation_metric", "Metric", "select", tuple(METRICS)),
    ),
    open=open_text_similarity,
    normalise=normalise_text_similarity,
    is_openai=True,
    rewards_reference=True,
)
