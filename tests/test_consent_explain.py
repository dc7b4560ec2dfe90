"""Every decision has a sentence in two languages that people can read, and that tells nothing of a plan."""

import re
from typing import get_args

import pytest

from consent.catalogue import CATALOGUE
from consent.decide import Decision, ReasonCode
from consent.explain import SENTENCES, Sentence, explain

MOST_WORDS = 15
ALL = {**SENTENCES, **{entry.id: Sentence(nl=entry.nl, en=entry.en) for entry in CATALOGUE}}
each_sentence = pytest.mark.parametrize("sentence", ALL.values(), ids=list(ALL))


def test_every_reason_has_a_sentence_and_every_sentence_a_reason() -> None:
    """Neither list grows without the other."""
    assert set(SENTENCES) == set(get_args(ReasonCode))


@each_sentence
class TestSentence:
    """What people read."""

    def test_is_there_in_both_languages(self, sentence: Sentence) -> None:
        """Ended by a full stop, begun with a capital."""
        for text in (sentence.nl, sentence.en):
            assert re.fullmatch(r"[A-Z].*\.", text)
        assert sentence.nl != sentence.en

    def test_is_short_in_dutch(self, sentence: Sentence) -> None:
        """B1: no sentence has more than fifteen words."""
        for each in re.split(r"(?<=[.!?])\s+", sentence.nl):
            assert len(each.split()) <= MOST_WORDS, each

    def test_holds_no_placeholder(self, sentence: Sentence) -> None:
        """Nothing out of a plan can get in."""
        for text in (sentence.nl, sentence.en):
            assert not re.search(r"[{}%<>\[\]$_]", text)


@pytest.mark.parametrize("code", get_args(ReasonCode))
def test_a_decision_is_explained_by_its_reason(code: ReasonCode) -> None:
    """Also a ground in law of which the entry is not known."""
    decision = Decision(part_id="Kanarie", permitted=False, code=code)
    assert explain(decision) == SENTENCES[code]
    assert "Kanarie" not in explain(decision).nl + explain(decision).en


@pytest.mark.parametrize("entry", CATALOGUE, ids=[entry.id for entry in CATALOGUE])
def test_a_ground_in_law_explains_itself(entry: object) -> None:
    """With the words of its entry, which differ per entry."""
    name = entry.id  # type: ignore[attr-defined]
    decision = Decision(part_id="deel", permitted=True, code="ground-in-law", entry=name)
    assert explain(decision) == ALL[name]
    assert list(ALL.values()).count(ALL[name]) == 1
