"""Break the program on purpose, one guard at a time, and watch a test fail: `make mutants`.

Each mutant is a small edit and the test that must turn red by it. A mutant that no test kills, or of which the old text does not
stand in its file exactly once, fails the run. Each worker mutates its own copy of the repository; this one is only read.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
LEFT_OUT = shutil.ignore_patterns(".venv", "var", ".git", "__pycache__", ".*_cache", ".hypothesis", "*.db*")
TIMEOUT_SECONDS = 300
PASSED, FAILED = 0, 1
"""Exit codes of pytest; any other means that no test ran, which proves nothing."""


class Mutant(NamedTuple):
    """One edit: what it does to the program, where, and who must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


DECIDE, INDEX, REDACT, VOICES = (f"consent/{name}.py" for name in ("decide", "index", "redact", "voices"))
_D, _R = "tests/test_consent_decide.py::", "tests/test_consent_redact.py::"
_C, _G = "tests/test_consent_choice.py::", "tests/test_consent_catalogue.py::"
_WINS = _D + "test_the_more_specific_wins_and_else_the_objection"
_PAIRS = _D + "test_a_permit_wins_from_a_denial_only_when_it_is_nowhere_less_and_somewhere_more_specific"
_PHASE = _D + "test_the_phase_of_a_plan_opens_and_closes_it"
_READER = _D + "test_a_resident_reads_what_is_about_them_and_only_that"
_WROTE = _D + "test_who_recorded_a_part_has_it"
_REACH = _D + "test_a_ground_reaches_as_far_as_its_entry_says"
_SUBJECTS = _D + "test_every_subject_must_say_yes"
_GUARDED = _D + "test_a_guarded_part_goes_only_when_it_is_named"
_SPEAKS = _D + "test_who_speaks_follows_from_law_and_age_today"
_UNKNOWN = _D + "test_with_an_unknown_age_only_objections_count"
_EDGES = _D + "test_a_period_holds_from_its_first_to_its_last_day_in_the_netherlands"
_CHANGE = _D + "test_days_of_change_are_edges_and_birthdays"
_PERIOD = _D + "test_consent_of_two_holds_between_the_latest_start_and_the_earliest_end"
_GROUND = _D + "TestGround::"
_ALIKE = _D + "test_parts_that_look_alike_are_decided_as_if_each_were_asked_about_alone"
_REFERS = _R + "test_a_part_refers_only_to_what_is_seen"
_LABEL = _R + "test_a_label_names_nobody_who_is_not_seen"
_NAMES = _R + "test_a_view_names_the_organisations_of_its_parts_and_the_source"
_HEADER = _R + "test_the_header_holds_the_plan_number_for_its_author_only"
_BSN = _R + "test_a_bsn_goes_to_an_article_and_to_the_resident_and_to_nobody_else"
_CANARY = _R + "test_no_exit_tells_of_what_is_withheld"

CONSENT_DECIDE = [
    Mutant("a resident reads everything", DECIDE, "own = case.recipient.resident in part.label.subjects", "own = True", _READER),
    Mutant("a resident is judged as an organisation", DECIDE, "if case.recipient.resident is not None:", "if False:", _READER),
    Mutant("no author has its own record", DECIDE,
           "if recorder and recorder.organisation == case.recipient.organisation:", "if False:", _WROTE),
    Mutant("everybody is the author", DECIDE,
           "if recorder and recorder.organisation == case.recipient.organisation:", "if recorder:", _WROTE),
    Mutant("no phase closes", DECIDE, "    if case.closed:\n", "    if False:\n", _PHASE),
    Mutant("concepts travel", DECIDE, 'return "plan-is-concept"', "return None", _PHASE),
    Mutant("revoked plans travel", DECIDE, 'return "plan-is-revoked"', "return None", _PHASE),
    Mutant("everybody waits for the decision", DECIDE, "if carries_individual and", "if", _PHASE),
    Mutant("the backoffice waits for itself", DECIDE, " and recipient.kind not in _OPEN_TO_BACKOFFICE", "", _PHASE),
    Mutant("no carrier waits", DECIDE, 'return None if signed_is_decision else "plan-not-decided"', "return None", _PHASE),
    Mutant("the signature never decides", DECIDE,
           'return None if signed_is_decision else "plan-not-decided"', 'return "plan-not-decided"', _PHASE),
    Mutant("general provisions wait too", DECIDE, "if isinstance(part, Provision) and part.individual]\n    carried",
           "if isinstance(part, Provision)]\n    carried", _PHASE),
    Mutant("an objection suspends nothing", DECIDE, " and not (ground.entry.objectable and _objected(answers))", "",
           _GROUND + "test_is_suspended_by_an_objection_only_when_it_can_be_objected_to"),
    Mutant("an objection suspends everything", DECIDE, "(ground.entry.objectable and _objected(answers))", "_objected(answers)",
           _GROUND + "test_is_suspended_by_an_objection_only_when_it_can_be_objected_to"),
    Mutant("an objection must be everybody's", DECIDE, 'any(answer.code == "objection"', 'all(answer.code == "objection"',
           _D + "test_one_subjects_objection_suspends_an_objectable_ground_for_all"),
    Mutant("a ground carries any kind of part", DECIDE, "part.kind not in entry.kinds or ", "",
           _D + "test_a_ground_never_carries_more_kinds_than_its_entry"),
    Mutant("a ground carries parts under any law", DECIDE, '(entry.law and label.law not in {entry.law, "none"})', "False",
           _GROUND + "test_carries_parts_under_its_law_or_none"),
    Mutant("a ground carries no part without a law", DECIDE, 'not in {entry.law, "none"}', "!= entry.law",
           _GROUND + "test_carries_parts_under_its_law_or_none"),
    Mutant("the municipality narrows no kinds", DECIDE, "_listed(selector.kinds, part.kind) and ", "",
           _GROUND + "test_is_narrowed_by_the_municipality"),
    Mutant("the municipality narrows no domains", DECIDE, "_listed(selector.domains, label.domain) and", "",
           _GROUND + "test_is_narrowed_by_the_municipality"),
    Mutant("the municipality narrows no parts", DECIDE, "_listed(selector.part_ids, part.id)", "True",
           _GROUND + "test_is_narrowed_by_the_municipality"),
    Mutant("the municipality's selectors must all fit", DECIDE, "if not any(_listed", "if not all(_listed",
           _GROUND + "test_is_narrowed_by_any_of_several_selectors"),
    Mutant("any ground carries guarded parts", DECIDE, "if guarded(part) and not entry.restricted:", "if False:",
           _GROUND + "test_carries_restricted_parts_only_when_it_says_so"),
    Mutant("secrecy stops nothing", DECIDE,
           "if label.recorded_by and label.recorded_by.secrecy and not entry.secrecy_lifted_by:", "if False:",
           _GROUND + "test_carries_what_was_recorded_under_secrecy_only_when_something_lifts_it"),
    Mutant("secrecy is never lifted", DECIDE, " and not entry.secrecy_lifted_by:", ":",
           _GROUND + "test_carries_what_was_recorded_under_secrecy_only_when_something_lifts_it"),
    Mutant("a decision is about general provisions", DECIDE, "return not general and ", "return ", _REACH),
    Mutant("a decision is about everybody", DECIDE,
           "case.individual_for.get(law, frozenset()).issuperset(part.label.subjects)", "True", _REACH),
    Mutant("a general provision asks for a decision", DECIDE,
           "[part for part in plan.parts if isinstance(part, Provision) and part.individual]",
           "[part for part in plan.parts if isinstance(part, Provision)]", _REACH),
    Mutant("an ended provision is an assignment", DECIDE, " if part.status in _ASSIGNED]", "]",
           _D + "test_an_assignment_ends_with_its_provision"),
    Mutant("an assignment gives every identity", DECIDE,
           "isinstance(part, Identity) and part.resident in case.carried_for.get(law, frozenset())",
           "isinstance(part, Identity)", _REACH),
    Mutant("an assignment gives no identity", DECIDE, "return is_person or part.id in case.carried_parts",
           "return part.id in case.carried_parts", _REACH),
    Mutant("an assignment gives every provision", DECIDE, "return is_person or part.id in case.carried_parts",
           "return is_person or isinstance(part, Provision)", _REACH),
    Mutant("everybody carries everything", DECIDE, " if part.provider == recipient.organisation]", "]", _REACH),
    Mutant("a ground is for any kind of organisation", DECIDE, "if recipient.kind in ground.organisation_kinds and", "if",
           _GROUND + "test_is_for_its_kinds_of_organisation"),
    Mutant("a ground is for any purpose", DECIDE, " and purpose in ground.purposes", "", _GROUND + "test_is_for_its_purposes"),
    Mutant("an unknown age is an adult's", DECIDE, "age = case.ages.get(subject)", "age = case.ages.get(subject) or 40", _UNKNOWN),
    Mutant("an unknown age hears no objection", DECIDE, "if age is not None else UNKNOWN",
           "if age is not None else UNKNOWN._replace(may_speak=frozenset())", _UNKNOWN),
    Mutant("with an unknown age a permit counts", DECIDE, "    if age is None:\n", "    if False:\n", _UNKNOWN),
    Mutant("silence is consent", DECIDE, "        if voice.isdisjoint(spoken):\n", "        if False:\n", _WINS),
    Mutant("no denial is heard", DECIDE, "    if denials:\n", "    if False:\n", _WINS),
    Mutant("one voice suffices", DECIDE, "for voice in voices.needed:", "for voice in voices.needed[:1]:", _SPEAKS),
    Mutant("anybody may speak", DECIDE, "if capacity in voices.may_speak and (found", "if (found", _SPEAKS),
    Mutant("one subject's yes suffices", DECIDE, 'if codes != {"consent"}:', 'if "consent" not in codes:', _SUBJECTS),
    Mutant("an objection is told as something else", DECIDE, '= ("objection", "age-unknown",', '= ("age-unknown", "objection",',
           _D + "test_an_unknown_age_of_one_subject_stops_a_part_about_two"),
    Mutant("several people are told as silence", DECIDE, '"not-every-subject" if "consent" in codes else "no-choice"', '"no-choice"',
           _SUBJECTS),
    Mutant("consent begins too early", DECIDE, "starts_on=max(", "starts_on=min(", _PERIOD),
    Mutant("consent ends too late", DECIDE, "ends_on=min(", "ends_on=max(", _PERIOD),
    Mutant("a withheld part tells of every choice", DECIDE, ' if answer.code == "objection" for choice in', " for choice in",
           _D + "test_decide_agrees_with_the_simple_rules_on_ten_thousand_cases"),
    Mutant("provisions are alike", DECIDE, "_JUDGED_ALONE = (Identity, Provision)", "_JUDGED_ALONE = (Identity,)", _ALIKE),
    Mutant("identities are alike", DECIDE, "_JUDGED_ALONE = (Identity, Provision)", "_JUDGED_ALONE = (Provision,)", _ALIKE),
    Mutant("a named part is like any other", DECIDE, " or part.id in case.named", "", _ALIKE),
    Mutant("parts named by a choice are like any other", DECIDE, ", *(choices[resident].named for resident in plan.residents)", "",
           _ALIKE),
    Mutant("parts named by a ground are like any other", DECIDE, "union(*by_grounds, ", "union(",
           _D + "test_of_parts_that_look_alike_a_ground_carries_the_one_that_it_names"),
    Mutant("a label makes no difference", DECIDE, "alike.get((type(part), part.label))",
           "alike.get((type(part), plan.parts[0].label))", _ALIKE),
    Mutant("an answer about one part names another", DECIDE, "replace(first, part_id=part.id)", "first", _ALIKE),
    Mutant("who carries nothing has no ground", DECIDE, ' or ground.entry.reach != "carried"', "", _REACH),
    Mutant("the day is that of UTC", DECIDE, "today = amsterdam_day(now)", "today = now.date()", _EDGES),
]  # fmt: skip

CONSENT_INDEX = [
    Mutant("a period has no edges", INDEX, "_in_period(entry.choice, today) and ", "", _EDGES),
    Mutant("the first day is left out", INDEX, "choice.starts_on <= today", "choice.starts_on < today", _EDGES),
    Mutant("the last day is left out", INDEX, "today <= choice.ends_on", "today < choice.ends_on", _EDGES),
    Mutant("selectors are not looked at again", INDEX, " and _selects(entry, part)", "", _GUARDED),
    Mutant("a name is not held to its kinds", INDEX,
           "right_kind = not selector.kinds or part.kind in selector.kinds", "right_kind = True", _WINS),
    Mutant("a name is not held to its domains", INDEX,
           "return right_kind and (not selector.domains or part.label.domain in selector.domains)", "return right_kind", _WINS),
    Mutant("guarded parts go unnamed", INDEX, 'return named or entry.choice.effect == "deny" or not guarded(part)', "return True",
           _GUARDED),
    Mutant("no denial reaches a guarded part", INDEX, 'named or entry.choice.effect == "deny" or', "named or", _GUARDED),
    Mutant("safety parts are not guarded", INDEX, 'part.kind == "safety" or part.label', "part.label", _GUARDED),
    Mutant("restricted parts are not guarded", INDEX, ' or part.label.sensitivity == "restricted"', "", _GUARDED),
    Mutant("more specific somewhere is enough", INDEX, "and all(left >= right", "and any(left >= right", _PAIRS),
    Mutant("nothing is overruled", INDEX, "if not any(_dominates(other.rank, row.rank) for other in found)", "if row in found", _WINS),
    Mutant("a role wins from a person", INDEX, '"role": 3, "person": 4', '"role": 4, "person": 3', _WINS),
    Mutant("a role is as specific as its organisation", INDEX, '"role": 3', '"role": 2', _WINS),
    Mutant("an organisation is as specific as its kind", INDEX, '"organisation": 2', '"organisation": 1', _WINS),
    Mutant("a kind is as specific as everybody", INDEX, '"kind": 1', '"kind": 0', _WINS),
    Mutant("a purpose is not specific", INDEX, "int(choice.purpose is not None)", "0", _WINS),
    Mutant("a name is no more specific than kind and domain", INDEX, '(3, ("part", part_id)', '(2, ("part", part_id)', _WINS),
    Mutant("kind and domain are no more specific than either", INDEX, '(2, ("both", *pair)', '(1, ("both", *pair)', _WINS),
    Mutant("a kind is no more specific than everything", INDEX, '(1, ("kind", kind)', '(0, ("kind", kind)', _WINS),
    Mutant("a domain is no more specific than everything", INDEX, '(1, ("domain", domain)', '(0, ("domain", domain)', _WINS),
    Mutant("a choice without a purpose says nothing", INDEX, "(purpose, None))", "(purpose,))", _WINS),
    Mutant("a choice without parts says nothing", INDEX, "choice.parts or (PartSelector(),)", "choice.parts", _WINS),
    Mutant("a name with kinds is a kind", INDEX, "    if selector.part_ids:\n        yield",
           "    if selector.part_ids and not selector.kinds:\n        yield", _WINS),
    Mutant("roles are not reached", INDEX, "    if recipient.role:\n", "    if False:\n", _WINS),
    Mutant("persons are not reached", INDEX, "    if recipient.person:\n", "    if False:\n", _WINS),
    Mutant("kinds are not reached", INDEX, "    if recipient.kind:\n", "    if False:\n", _WINS),
    Mutant("a person is known everywhere", INDEX, "named = (selector.organisation, selector.role, selector.person, selector.kind)",
           "named = (None if selector.person else selector.organisation, selector.role, selector.person, selector.kind)", _WINS),
]  # fmt: skip

CONSENT_REDACT = [
    Mutant("withheld parts are seen", REDACT, " if decisions[part.id].permitted}", "}", _CANARY),
    Mutant("nothing is a view too", REDACT, "    if not seen:\n        return None\n", "",
           _R + "test_seeing_nothing_is_no_view_and_a_view_of_a_view_is_itself"),
    Mutant("everybody knows the plan number", REDACT, "plan.number if is_author else None", "plan.number", _HEADER),
    Mutant("every resident is named", REDACT, " if resident in subjects]", "]", _HEADER),
    Mutant("a relative is shown whole", REDACT, "case Relative() if decision.ground not in _AUTHOR:", "case Relative() if False:",
           _REFERS),
    Mutant("the author loses its own record", REDACT, "case Relative() if decision.ground not in _AUTHOR:", "case Relative():",
           _R + "test_the_author_of_a_part_keeps_what_it_wrote_of_a_relative"),
    Mutant("a relative's name needs no agreement", REDACT, "name=part.name if part.agreed else None", "name=part.name", _REFERS),
    Mutant("a law opens a relative", REDACT, 'frozenset({"authored"})', 'frozenset({"authored", "statutory-task"})',
           _R + "test_a_law_does_not_open_a_relatives_name"),
    Mutant("an owner is always named", REDACT, "owner=self._actor(part.owner), goals", "owner=part.owner, goals", _REFERS),
    Mutant("a provision serves unseen goals", REDACT, "return replace(part, label=label, goals=self._goals(part.goals))",
           "return replace(part, label=label)", _REFERS),
    Mutant("goals are not looked for", REDACT, "for goal in goals if goal in self.seen", "for goal in goals", _REFERS),
    Mutant("a safety agreement names its people", REDACT, "label=label, owner=owner, watched_by=watched_by", "label=label", _REFERS),
    Mutant("who agreed is always named", REDACT, "return replace(part, label=label, by=self._actor(part.by))",
           "return replace(part, label=label)", _REFERS),
    Mutant("unseen relatives are mentioned", REDACT, " if part_id in self.seen]", "]", _LABEL),
    Mutant("a speaker is always named", REDACT, "self._actor(label.speaker) if label.speaker else None", "label.speaker", _LABEL),
    Mutant("everybody knows the recorder", REDACT, "recorder if recorder and self._is_reader(recorder) else None", "recorder", _LABEL),
    Mutant("actors are always named", REDACT, "return actor if known else Actor(type=actor.type)", "return actor", _REFERS),
    Mutant("residents are never named", REDACT, " or actor.ref in self.residents", "", _REFERS),
    Mutant("seen people are never named", REDACT, " or actor.ref in self.seen", "", _REFERS),
    Mutant("everybody gets a BSN", REDACT, "if self.recipient.bsn_article or self.recipient.resident == part.resident:", "if True:", _BSN),
    Mutant("no article gives a BSN", REDACT, "if self.recipient.bsn_article or self.recipient", "if self.recipient", _BSN),
    Mutant("a resident does not know their BSN", REDACT, "if self.recipient.bsn_article or self.recipient.resident == part.resident:",
           "if self.recipient.bsn_article:", _BSN),
    Mutant("any resident gets every BSN", REDACT, "self.recipient.resident == part.resident", "self.recipient.resident", _BSN),
    Mutant("another's number is passed on", REDACT, "self.pseudonym(part.resident)}", "part.pseudonym}", _BSN),
    Mutant("a number beside the BSN is passed on", REDACT, '{"bsn": part.bsn, "pseudonym": None}', '{"bsn": part.bsn}', _BSN),
    Mutant("every organisation is named", REDACT, " if organisation.id in named)", ")", _NAMES),
    Mutant("the source is not named", REDACT, " | {plan.source}", "", _NAMES),
    Mutant("the reader is not named as recorder", REDACT,
           "named |= {part.label.recorded_by.organisation for part in parts if part.label.recorded_by}", "pass", _NAMES),
]  # fmt: skip

CONSENT_REST = [
    Mutant("a youth of 16 is a child", VOICES, "if age >= 16:", "if age > 16:", _SPEAKS),
    Mutant("a child of 12 is not asked", VOICES, "if age >= 12 and", "if age > 12 and", _SPEAKS),
    Mutant("a child is asked under any law", VOICES, ' and law == "jeugdwet":', ":", _SPEAKS),
    Mutant("a birthday comes a day late", VOICES, "< (birth_date.month, birth_date.day)",
           "<= (birth_date.month, birth_date.day)", _D + "test_a_birthday_changes_the_answer"),
    Mutant("a period's end wakes nobody", VOICES, "days.add(date.fromordinal(choice.ends_on.toordinal() + 1))", "pass",
           _CHANGE),
    Mutant("a period's beginning wakes nobody", VOICES, "days.add(choice.starts_on)", "pass", _CHANGE),
    Mutant("a birthday wakes nobody", VOICES, "for age in AGES_OF_CHANGE}", "for age in ()}", _CHANGE),
    Mutant("the past wakes somebody", VOICES, " if day > after))", "))", _CHANGE),
    Mutant("a recipient may have any field", "consent/choice.py",
           "if (said is not None) != (name in needed) or blank:", "if blank:",
           _C + "test_a_recipient_has_the_fields_of_its_type_and_no_other"),
    Mutant("a recipient may have too many fields", "consent/choice.py",
           "if (said is not None) != (name in needed) or blank:", "if (said is None and name in needed) or blank:",
           _C + "test_a_recipient_has_the_fields_of_its_type_and_no_other"),
    Mutant("any organisation may be named", "consent/choice.py",
           "if recipient.organisation is not None and recipient.organisation not in known_organisations:", "if False:",
           _C + "test_a_choice_that_could_mean_something_else_is_refused"),
    Mutant("a period may end before it begins", "consent/choice.py", "choice.ends_on < choice.starts_on", "False",
           _C + "test_a_choice_that_could_mean_something_else_is_refused"),
    Mutant("a period of one day is refused", "consent/choice.py", "choice.ends_on < choice.starts_on", "choice.ends_on <= choice.starts_on",
           _C + "test_a_choice_that_says_one_thing_is_kept"),
    Mutant("nobody may give a choice", "consent/choice.py", "if says_nothing(choice.given_by.person):", "if False:",
           _C + "test_a_choice_that_could_mean_something_else_is_refused"),
    Mutant("a recipient may be blank", "consent/choice.py", " or blank:", ":",
           _C + "test_a_recipient_that_can_never_match_is_refused"),
    Mutant("a representative needs no mandate", "consent/choice.py", 'if choice.given_by.capacity == "representative" and', "if False and",
           _C + "test_a_choice_that_could_mean_something_else_is_refused"),
    Mutant("a municipality invents grounds", "consent/catalogue.py", "    if entry is None:\n", "    if False:\n",
           _G + "test_a_ground_that_is_not_in_the_catalogue_is_refused"),
    Mutant("a municipality widens kinds of organisation", "consent/catalogue.py",
           "if line.organisation_kind and line.organisation_kind not in entry.organisation_kinds:", "if False:",
           _G + "TestEntry::test_is_not_widened_to_another_kind_of_organisation"),
    Mutant("a municipality widens purposes", "consent/catalogue.py", "if line.purpose and line.purpose not in entry.purposes:",
           "if False:", _G + "TestEntry::test_is_not_widened_to_another_purpose"),
    Mutant("a municipality widens kinds of parts", "consent/catalogue.py",
           "if not set(selector.kinds or KINDS) <= set(entry.kinds):", "if False:",
           _G + "TestEntry::test_is_not_widened_to_another_kind_of_part"),
    Mutant("an absent list of kinds is not any", "consent/catalogue.py", "set(selector.kinds or KINDS)", "set(selector.kinds)",
           _G + "TestEntry::test_is_not_widened_by_leaving_the_kinds_out"),
]  # fmt: skip

_J = "tests/test_journey.py::"

_L = "tests/test_gateway_delivery.py::"
_LAST_MOMENT = _L + "TestConsentIsDecidedAtTheLastMoment::"
DELIVERY, BEGINNING, SETTLING, SIGHT, READING = (
    f"gateway/{name}.py" for name in ("delivery", "beginning", "settling", "sight", "reading")
)

GATEWAY_DELIVERY = [
    Mutant("a withheld view is rendered", BEGINNING, "        if look.plan is None:\n", "        if False:\n",
           _LAST_MOMENT + "test_the_attempt_itself_decides"),
    Mutant("the same view is sent again", BEGINNING, "if not needed or lane.delivered_view == state.version:", "if not needed:",
           _J + "test_a_hidden_edit_changes_nothing_that_a_recipient_can_see"),
    Mutant("a retry looks without bounds", DELIVERY, "within=row.parts, fresh=fresh", "within=None, fresh=fresh",
           _LAST_MOMENT + "test_a_retry_never_widens"),
    Mutant("what never left keeps its receipt", SETTLING, "receipts.drop_receipt(tx, each.attempt.receipt)", "pass",
           _L + "TestOnlyAMatchingReceiptIsDelivered::test_what_never_left_has_no_receipt"),
    Mutant("a retry widens", SIGHT, "if decision.permitted and decision.part_id not in within:", "if False:",
           _LAST_MOMENT + "test_a_retry_never_widens"),
]  # fmt: skip
"""Guards of an attempt (gateway/delivery.py, beginning.py, settling.py) and of gateway/sight.py."""

_WITHDRAWN = _LAST_MOMENT + "test_a_withdrawal_ends_reading_and_the_refused_attempt_has_a_receipt"

GATEWAY_READING = [
    Mutant("nothing to see is a page", READING, "        if look.plan is None:\n            views.end",
           "        if False:\n            views.end", _WITHDRAWN),
    Mutant("a refused attempt leaves no receipt", READING, "receipts.add_receipts(tx, [self._receipt(look, caller, None)])", "pass",
           _WITHDRAWN),
    Mutant("a read leaves no receipt", READING, "receipts.add_receipts(tx, [self._receipt(look, caller, page)])", "pass", _WITHDRAWN),
    Mutant("a refusal says that there is something", READING,
           'if page == "refused":\n                raise Refusal("not-found")',
           'if page == "refused":\n                raise Refusal("busy")', _WITHDRAWN),
]  # fmt: skip
"""Guards of gateway/reading.py."""

_LOOK = "tests/test_gateway_attempt.py::"

BETWEEN_LOOK_AND_WRITE = [
    Mutant("an ended delivery begins", BEGINNING, "if standing is None or standing.row.state not in PENDING:", "if standing is None:",
           _LOOK + "test_a_delivery_that_ended_since_the_look_does_not_begin"),
    Mutant("an older delivery begins", BEGINNING,
           "if lane.newest != row.id and (row.sequence is None or lane.newest_pending == row.id):", "if False:",
           _LOOK + "test_a_newer_delivery_planned_since_the_look_supersedes_this_one"),
    Mutant("two begin in one lane", BEGINNING, "if lane.in_flight is not None or lane.newest != row.id:",
           "if lane.newest != row.id:", _LOOK + "test_a_lane_with_something_in_flight_is_waited_for"),
    Mutant("what has begun overtakes its successor", BEGINNING, "if lane.in_flight is not None or lane.newest != row.id:",
           "if lane.in_flight is not None:", _LOOK + "test_what_has_begun_waits_for_the_verdict_of_its_successor"),
    Mutant("what has begun is overtaken by the same view", "gateway/store/lanes.py", "    return not same\n", "    return True\n",
           _LOOK + "test_a_successor_with_the_same_view_is_not_needed"),
    Mutant("what has begun outlives another view", "gateway/store/lanes.py", "if found not in same[-1:]:", "if False:",
           _LOOK + "test_a_successor_with_another_view_supersedes_what_has_begun"),
    Mutant("a choice kept since the look does not count", BEGINNING, "if not unchanged or ", "if ",
           _LOOK + "test_a_choice_kept_since_the_look_asks_for_another_look"),
    Mutant("a directory changed since the look does not count", BEGINNING,
           " or standing.directory_version != attempt.directory_version", "",
           _LOOK + "test_a_directory_changed_since_the_look_asks_for_another_look"),
    Mutant("a withheld view is not ended", BEGINNING, "            views.end(tx, *attempt.view_key)\n", "",
           _LOOK + "test_what_is_permitted_again_after_an_end_is_sent_again"),
    Mutant("a choice kept since the look does not count", READING, " or not self._sight.still_holds(tx, look)", "",
           _LOOK + "test_a_read_looks_again_when_a_choice_was_kept_since_the_look"),
    Mutant("a plan changed since the look does not count", READING, " or row.version != look.whole.version", "",
           _LOOK + "test_a_read_looks_again_when_the_plan_changed_since_the_look"),
]  # fmt: skip
"""Guards for what another process may do between the look and its transaction."""

_GROUP, _BETWEEN = "tests/test_gateway_batch.py::", "tests/test_gateway_between.py::"

TOGETHER = [
    Mutant("what was attempted since the look does not count", BEGINNING,
           "(row.plan_version, row.parts) != (look.whole.version, attempt.within)", "row.plan_version != look.whole.version",
           _LOOK + "test_what_was_attempted_since_the_look_asks_for_another_look"),
    Mutant("a version that came since the look does not count", BEGINNING,
           "(row.plan_version, row.parts) != (look.whole.version, attempt.within)", "row.parts != attempt.within",
           _LOOK + "test_a_version_that_came_since_the_look_asks_for_another_look"),
    Mutant("one that fails fails all", "gateway/batch.py", "            if len(group) > 1:\n                return False\n", "",
           _GROUP + "test_one_that_fails_fails_alone"),
    Mutant("what nobody waits for is done", "gateway/batch.py", " if not answer.done()]", "]",
           _GROUP + "test_a_question_whose_asker_has_gone_is_not_done"),
    Mutant("a view is shown in two ways under one version", BEGINNING, "== attempt.look.fingerprint else None",
           "== attempt.look.fingerprint or True else None",
           _LOOK + "test_two_of_a_group_that_show_one_reader_different_views_go_one_by_one"),
    Mutant("a withdrawal waits for no other process", "gateway/choosing.py", '    lock(tx, "resident", row.resident)\n', "",
           _BETWEEN + "TestWithdrawal::test_a_kept_choice_waits_for_the_last_bytes_of_another_gateway"),
    Mutant("a send shares nothing between processes", "gateway/locks.py", "                await self._between.share(wanted)\n", "",
           _BETWEEN + "TestWithdrawal::test_it_waits_for_every_send_that_shares_the_resident"),
    Mutant("a lost session still counts", "gateway/store/session_locks.py", "not self._connection.is_closed() and ", "",
           _BETWEEN + "TestWithdrawal::test_a_lost_connection_is_made_again"),
    Mutant("a bell hears itself", "gateway/store/bell.py", "if payload != self._name:", "if True:",
           _BETWEEN + "TestBell::test_it_rings_in_every_other_gateway"),
    Mutant("what was put off is forgotten", "gateway/crowds.py", "        self._put_off.add(row.recipient)\n        if", "        if",
           "tests/test_gateway_edges.py::TestSlowRecipients::test_what_was_put_off_is_called_back_when_there_is_room"),
    Mutant("a slow recipient is admitted like a quick one", "gateway/crowds.py",
           "users >= self._most or (users >= self._most_if_slow and self._is_slow(recipient))", "users >= self._most",
           "tests/test_gateway_edges.py::TestSlowRecipients::test_a_gate_lets_a_few_through_at_a_time"),
]  # fmt: skip
"""Guards of what is done together, between processes, and for slow recipients."""

_SINGS = "tests/test_gateway_leaks.py::TestCanaries::test_no_canary_is_heard_outside"
_REPEATS = "tests/test_gateway_leaks.py::TestCanaries::test_no_problem_repeats_a_value"
_TELLS = "tests/test_gateway_leaks.py::TestTwoWorlds::test_a_recipient_cannot_tell_that_something_is_hidden"
_LISTS = "gateway/api/deliveries.py"

LEAKS = [
    Mutant("a push carries the whole plan", BEGINNING, "self._renderer.render(found.attempt.look.stamped(found.state), endpoint.format)",
           "self._renderer.render(found.attempt.look.whole, endpoint.format)", _SINGS),
    Mutant("a push says something of the plan in a header", "adapters/outbound_http.py", '"Planbrug-Sha256": parcel.sha256,',
           '"Planbrug-Sha256": parcel.sha256, "X": "".join(filter(str.isalnum, parcel.body.decode("ascii", "ignore")))[:6000],',
           _SINGS),
    Mutant("a read shows the whole plan", READING, "self._renderer.render(view, form)",
           "self._renderer.render(look.loaded.plan, form)", _SINGS),
    Mutant("a read is numbered by the plan's version", "gateway/api/plans.py",
           '{**VERSION_HEADER, "ETag": etag(page.version)}', '{**VERSION_HEADER, "ETag": etag(page.look.loaded.plan.version)}',
           _TELLS),
    Mutant("a delivery tells its recipient the plan's version", _LISTS,
           "row.view_version,\n        recipient=row.recipient,\n        adapter",
           "row.plan_version,\n        recipient=row.recipient,\n        adapter", _TELLS),
    Mutant("a receipt tells its recipient the plan's version", _LISTS,
           "row.view_version,\n        parts=", "row.plan_version,\n        parts=", _TELLS),
    Mutant("a recipient sees deliveries that never began", "gateway/store/deliveries.py",
           'and_(delivery.c.recipient == bindparam("viewer"), delivery.c.sequence.is_not(None))',
           'delivery.c.recipient == bindparam("viewer")', _TELLS),
    Mutant("a broker message names somebody", "gateway/due_event.py", "    return msgspec.json.encode(event)\n",
           '    return msgspec.json.encode(event)[:-1] + b\', "who": "Marloes"}\'\n', _SINGS),
    Mutant("a log line repeats the document", "gateway/intake.py", "        draft = await self._read(body, form)\n",
           '        draft = await self._read(body, form)\n        self._log("format_refused", format=form.name, error=body.decode())\n',
           _SINGS),
    Mutant("a metric repeats the path", "gateway/app.py", "gateway.metrics.request(request.method, route,",
           "gateway.metrics.request(request.method, request.path_qs,", _REPEATS),
    Mutant("a problem repeats a wrong value", "gateway/api/call.py", "[_finding(str(error))]",
           '[Finding(pointer="", code="type", remedy=str(error))]', _REPEATS),
    Mutant("the disk holds what is sealed", "gateway/vault.py", "return key_id, seal(key, text, context)",
           "return key_id, seal(key, text, context) + text", _SINGS),
]  # fmt: skip
"""A leak planted in every exit: push, read, lists, broker, log, metrics, errors, disk."""

PULLING, _P = "gateway/pulling.py", "tests/test_gateway_pulling.py::"
_I, _B = "tests/test_gateway_inbound.py::", "tests/test_gateway_partner_broker.py::"
_CHANGED = _P + "test_a_pull_looks_again_when_something_changed_since_the_look"

PARTNERS = [
    Mutant("a pull widens", PULLING, "within=row.parts", "within=None",
           _P + "test_a_second_pull_may_narrow_and_never_widens"),
    Mutant("anybody pulls", PULLING, "row.recipient != caller.organisation or ", "", _P + "test_nobody_else_pulls_or_confirms"),
    Mutant("a pull decides nothing", PULLING, "        if look.plan is None:", "        if False:",
           _P + "test_the_pull_itself_decides"),
    Mutant("any hash confirms", PULLING, "if sha256 != wanted:", "if False:",
           _P + "test_a_receipt_is_taken_once_and_only_after_a_pull"),
    Mutant("a choice kept since the look does not count", PULLING, "not self._sight.still_holds(tx, look) or ", "", _CHANGED),
    Mutant("a directory changed since the look does not count", PULLING,
           " or directory_rows.directory_version(tx) != pull.directory_version", "", _CHANGED),
    Mutant("an ended delivery is pulled", PULLING, " or row.sequence is None or row.state not in OPEN:",
           " or row.sequence is None:", _CHANGED),
    Mutant("who was notified holds up the rest", "gateway/store/lanes.py",
           'and_(delivery.c.state == "sent", delivery.c.reason.is_(None)), delivery.c.id', 'delivery.c.state == "sent", delivery.c.id',
           _P + "test_a_newer_version_takes_the_place_of_one_that_was_not_confirmed"),
    Mutant("a restart notifies again", "gateway/store/schedule.py",
           'and_(delivery.c.state == "sent", delivery.c.reason.is_(None))', 'delivery.c.state == "sent"',
           _P + "test_a_restart_notifies_nobody_again"),
    Mutant("a notification names the plan's reader", "adapters/outbound_amqp.py", '"source": SOURCE,',
           '"source": SOURCE, "subject": delivery_id,', _P + "test_a_notification_says_where_and_nothing_else"),
    Mutant("another body under the same id is kept", "gateway/inbound.py",
           'return "repeated" if known.body_fingerprint == fingerprint else Fault("key-reused")', 'return "repeated"',
           _I + "test_another_body_under_the_same_id_is_set_aside"),
    Mutant("any client sends plans", "gateway/inbound.py", "        caller.require(SCOPE)\n", "",
           _I + "test_what_can_never_be_kept_is_set_aside_sealed_with_its_reason"),
    Mutant("what failed is acknowledged", "gateway/partner_broker.py", "message.ack() if settled else message.nack(requeue=True)",
           "message.ack()", _B + "test_what_is_held_too_long_goes_back_and_comes_again"),
    Mutant("senders' messages overtake each other", "gateway/partner_broker.py", 'self._senders.hold(message.user_id or "")',
           "self._senders.hold(str(id(message)))",
           _B + "test_a_message_that_fails_for_a_while_is_taken_before_the_next_of_its_sender"),
    Mutant("unreadable properties break the connection", "gateway/rabbit.py", "        survive_any_properties()\n", "",
           _B + "test_properties_that_nobody_can_read_silence_nobody"),
]  # fmt: skip
"""Guards of the exchange with partners over AMQP."""

MERGE, _M, _F = "mappings/merge.py", "tests/test_mappings_merge.py::", "tests/test_gateway_fhir.py::"

WRITTEN_BACK = [
    Mutant("a hidden reference is erased", MERGE, "hidden = tuple(name for name in whole if name not in shown)", "hidden = ()",
           _M + "test_an_edit_keeps_the_hidden_reference_beside_it"),
    Mutant("what was not touched is overwritten", MERGE, "        if now != before:\n", "        if True:\n",
           _M + "test_a_view_that_comes_back_as_it_was_changes_nothing"),
    Mutant("a hidden part is written over", MERGE, "is_hidden = before is None and part != whole.get(part.id, part)", "is_hidden = False",
           _M + "test_a_part_under_the_id_of_another_is_a_conflict"),
    Mutant("what something hidden needs is taken out", MERGE, "        raise MappingError(*findings)\n    return plan",
           "        pass\n    return plan",
           _M + "test_what_something_hidden_needs_cannot_be_taken_out"),
    Mutant("a view that comes back is the whole plan", "gateway/preparation.py", "if draft.view_version is not None and known is not None:",
           "if False:", _F + "test_what_the_writer_cannot_see_stays"),
    Mutant("an old view overwrites", "gateway/preparation.py", "if version and version != state.version:", "if False:",
           _F + "test_what_was_read_before_a_change_is_stale"),
    Mutant("one scope opens all types", "gateway/callers.py", 'name in {"*", asked_type}', "True",
           _F + "test_each_type_needs_its_scope"),
]  # fmt: skip
"""Every way in which writing back a view could cost what its writer cannot see."""

_EDGE = "tests/test_mappings_edge.py::"
_REFUSED = _EDGE + "test_what_r4_or_a_profile_forbids_is_refused_at_its_place"
FHIRJSON, STRUCTURE, BINDINGS, TARGETS = (
    f"mappings/{name}.py" for name in ("fhirjson", "structure", "bindings", "targets")
)
MODELS, CHECK = "mappings/models.py", "mappings/edge.py"
INVARIANTS, NARRATIVE, CONFORMANCE = (f"mappings/{name}.py" for name in ("invariants", "narrative", "conformance"))

EDGE = [
    Mutant("a null passes", FHIRJSON, 'return None if kept else ("null"', 'return None if True else ("null"', _REFUSED),
    Mutant("a null may stand beside a null", FHIRJSON, " if item is not None}", "}", _REFUSED),
    Mutant("lists in lists are not read", FHIRJSON, "(_wrapped(item, None), (path", "(item, (path", _REFUSED),
    Mutant("a name is as long as it likes", FHIRJSON, "len(name) > _LONGEST_NAME", "False", _REFUSED),
    Mutant("an empty list passes", FHIRJSON, " or (isinstance(value, _Aligned) and not value.items)", "", _REFUSED),
    Mutant("white space is text", FHIRJSON, "isinstance(value, str) and value.isspace()", "False", _REFUSED),
    Mutant("an id is content", FHIRJSON, 'isinstance(value, dict) and value.keys() == {"id"} and not kept', "False", _REFUSED),
    Mutant("nothing is too deep", FHIRJSON, "    if too_deep(document):", "    if False:",
           _EDGE + "test_a_deep_document_is_refused_before_anything_follows_it_down"),
    Mutant("a number may stand in quotes", STRUCTURE, "isinstance(value, types) and (", "(", _REFUSED),
    Mutant("true is a number", STRUCTURE, " and (bool in types or not isinstance(value, bool))", "", _REFUSED),
    Mutant("an address holds white space", STRUCTURE, "elif element.form and not", "elif False and not", _REFUSED),
    Mutant("R4B is R4", MODELS, "name in _NOT_R4 or ", "", _REFUSED),
    Mutant("R4B brings datatypes", MODELS, ' if getattr(each.type, "__name__", "") not in _NEW_TYPES', "", _REFUSED),
    Mutant("R4B widens references", MODELS, "targets = _R4_TARGETS.get(", "targets = {}.get(", _REFUSED),
    Mutant("any spelling is a value", STRUCTURE, 'return Finding(pointer=pointer, code="format", remedy=_FORM)',
           'return Finding(pointer=pointer, code="", remedy=_FORM)', _REFUSED),
    Mutant("what lacks is told one by one", STRUCTURE, "    yield from _lacking(place, shape)\n", "",
           _EDGE + "test_everything_that_lacks_is_told_at_once"),
    Mutant("required codes are a remark", BINDINGS, "and code not in codes:", "and False:", _REFUSED),
    Mutant("a code of any system will do", BINDINGS, 'each.get("system") == system and ', "", _REFUSED),
    Mutant("a reference leads to any type", TARGETS, "(not allowed or _ANY in allowed or kind in allowed)", "True", _REFUSED),
    Mutant("a reference leads to what is no type", TARGETS, "model_of(kind) is not None and ", "", _REFUSED),
    Mutant("a reference may say two things", TARGETS, "if literal and named and literal != named:", "if False:", _REFUSED),
    Mutant("a urn leads anywhere", TARGETS, "if text in place.full_urls:", "if False:", _REFUSED),
    Mutant("invariants are advice", INVARIANTS, "if not rule.holds(place):", "if False:", _REFUSED),
    Mutant("contained resources are free", INVARIANTS, "CONTAINED if place.is_contained else ()", "", _REFUSED),
    Mutant("every element is formatting", NARRATIVE, "if namespace != XHTML or local not in _ELEMENTS:", "if False:", _REFUSED),
    Mutant("events may run", NARRATIVE, "if local not in _ATTRIBUTES or ", "if ", _REFUSED),
    Mutant("links and pictures lead out", NARRATIVE, "local in _ADDRESSES and not inside", "False and not inside", _REFUSED),
    Mutant("styles reach out", NARRATIVE, 'local == "style" and', "False and", _REFUSED),
    Mutant("a narrative may declare entities", NARRATIVE, "    parser.StartDoctypeDeclHandler = reader.stop\n", "", _REFUSED),
    Mutant("a narrative nests without end", NARRATIVE, "self.depth > MAX_DEPTH or ", "", _REFUSED),
    Mutant("a narrative may say nothing", NARRATIVE, "    if not reader.says:", "    if False:", _REFUSED),
    Mutant("a profile fixes nothing", CONFORMANCE, "rule.fixed is not UNSET and value != rule.fixed:", "False:", _REFUSED),
    Mutant("a profile requires nothing", CONFORMANCE, "if len(found) < child.at_least:", "if False:", _REFUSED),
    Mutant("a profile limits nothing", CONFORMANCE, "child.at_most is not None and len(found)", "False and len(found)", _REFUSED),
    Mutant("a profile takes any type", CONFORMANCE, "elif kind and rule.types and kind.lower()", "elif False and kind.lower()", _REFUSED),
    Mutant("a profile is for any resource", CONFORMANCE, "if definition and definition.type != place.type:", "if False:", _REFUSED),
    Mutant("a profile lets references lead anywhere", CONFORMANCE, "        if rule.targets:", "        if False:", _REFUSED),
    Mutant("an extension stands anywhere", CONFORMANCE, "if place.inside not in definition.contexts:", "if False:", _REFUSED),
    Mutant("an extension stands any number of times", CONFORMANCE, "seen[url] == definition.rule.at_most + 1:", "False:", _REFUSED),
    Mutant("findings stand in any order", CHECK, "key=_Order(document, root).position", "key=lambda _: 0",
           _EDGE + "test_a_bundle_is_refused_with_all_findings_in_the_order_of_the_document"),
    Mutant("findings have no end", CHECK, "heapq.nsmallest(MAX_FINDINGS, ", "heapq.nsmallest(1000, ",
           _EDGE + "test_the_first_hundred_findings_are_told"),
    Mutant("pointers begin at the root", CHECK, "in walk(resource, pointer, ", 'in walk(resource, "", ',
           _EDGE + "test_a_pointer_begins_where_the_resource_stands"),
    Mutant("anything is a Bundle", CHECK, 'bundle.get("resourceType") != "Bundle"', "False", _EDGE + "test_only_a_bundle_is_a_bundle"),
    Mutant("a remedy repeats the code", BINDINGS, 'f"give a code that R4 allows here: {', 'f"{code} is no code that R4 allows here: {',
           _EDGE + "test_no_remedy_repeats_what_the_document_says"),
    Mutant("a code may be a list", BINDINGS, 'str(each.get("code")) in codes', 'each.get("code") in codes', _REFUSED),
    Mutant("every contained resource reads the whole", STRUCTURE, "    @cached_property\n    def mentions",
           "    @property\n    def mentions",
           _EDGE + "test_the_work_grows_with_the_document_and_no_faster"),
    Mutant("no null may stand beside its reason", FHIRJSON, 'return None if kept else ("null"', 'return None if False else ("null"',
           _EDGE + "test_what_r4_allows_passes"),
    Mutant("our extensions stand nowhere", CONFORMANCE, "if place.inside not in definition.contexts:", "if True:",
           _EDGE + "test_what_we_render_of_an_example_passes"),
    Mutant("our profile has another title", CONFORMANCE, "value != rule.fixed:", "value == rule.fixed:",
           _EDGE + "test_what_we_render_of_any_plan_passes"),
    Mutant("the models come with the renderer", CHECK, "import heapq\n", "import heapq\nimport fhir.resources\n",
           _EDGE + "test_who_renders_does_not_pay_for_the_models"),
    Mutant("a rule without a row", INVARIANTS, '"bdl-8"', '"bdl-88"', _EDGE + "test_every_invariant_has_a_row_that_breaks_it"),
    Mutant("our code systems hold any code", CONFORMANCE, "and code not in known:", "and False:", _REFUSED),
]  # fmt: skip
"""What FHIR from outside must be."""

_TRAIL = "tests/test_consent_fhir.py::"
_HELD = _TRAIL + "test_what_a_choice_cannot_hold_is_refused_at_its_place"
_AUDIT = "tests/test_mappings_audit.py::"
READING, WRITING = "consent/fhir_reading.py", "consent/fhir_writing.py"

TRAIL = [
    Mutant("a Consent is half kept", READING, "if unkept := list(", "if False and list(",
           _TRAIL + "test_nothing_that_is_added_anywhere_is_dropped"),
    Mutant("a Consent out of force is a choice", READING, 'if node.text("status") != "active":', "if False:",
           _TRAIL + "test_a_choice_that_was_withdrawn_is_inactive_and_no_choice"),
    Mutant("an exception is a selection", READING, "if len(effects) > 1 or any", "if any", _HELD),
    Mutant("a whole Patient is a part", READING, "(literal if resource_type in _PART_TYPES else None)", "(literal or None)",
           _HELD),
    Mutant("a modifier is read over", "consent/fhir.py", "        refuse_modifiers(resource)\n", "", _HELD),
    Mutant("the outer provision permits everything", WRITING, "**({} if around.nested else effect)", "**effect",
           _TRAIL + "test_several_selections_stand_under_a_provision_that_permits_nothing_itself"),
    Mutant("a role is its organisation", WRITING, 'return [role], {"reference": f"#{CONTAINED}"}', "return [role], organisation",
           _TRAIL + "test_who_does_not_know_our_words_gives_nobody_anything"),
    Mutant("one selection of everything is none", WRITING, "return len(parts) > 1 or parts == (PartSelector(),)",
           "return len(parts) > 1", _TRAIL + "test_every_choice_comes_back_as_it_was"),
    Mutant("a refusal looks like a success", "mappings/audit.py", "_FAILED if disclosure.refused else _DONE", "_DONE",
           _AUDIT + "test_a_refusal_is_a_failure_with_its_reason"),
    Mutant("a receipt tells the version always", "mappings/audit.py", "    if disclosure.plan_version:\n", "    if True:\n",
           _AUDIT + "test_the_version_of_the_plan_stands_there_only_when_it_is_given"),
    Mutant("a part is the whole Patient", "mappings/elements.py", '    if resource_type == "Patient":\n        return',
           '    if resource_type == "Nobody":\n        return', _AUDIT + "test_a_part_is_referred_to_as_the_resource_that_it_is"),
]  # fmt: skip
"""Choices, receipts and origins as FHIR."""

TOKENS, CLAIMS, PROFESSIONALS = (f"gateway/{name}.py" for name in ("tokens", "claims", "professionals"))
PUBLISHED, SIGNING, CALL = "gateway/published.py", "gateway/signing.py", "gateway/api/call.py"
_K, _CERT = "tests/test_gateway_keys.py::", "tests/test_gateway_certificates.py::"
_P, _BAD = "tests/test_gateway_professionals.py::", "tests/test_gateway_bad_tokens.py::test_a_bad_token_opens_nothing"

CALLERS = [
    Mutant("a token does not end", CLAIMS, "seconds < float(expires or 0) and ", "", _BAD),
    Mutant("a token need not have begun", CLAIMS, " and max(begins) <= seconds + CLOCK_SKEW_SECONDS", "", _BAD),
    Mutant("an assertion is an access token", TOKENS, 'decoded.header.get("typ"))', '"at+jwt")', _BAD),
    Mutant("a bound client needs no certificate for a token", TOKENS, "if client.mtls and certificate is None:", "if False:",
           _CERT + "TestBehindAProxy::test_a_bound_client_without_a_certificate_gets_no_token"),
    Mutant("any certificate holds a bound token", CLAIMS, " or bound != {BOUND: certificate}", "",
           _CERT + "TestBehindAProxy::test_a_bound_client_gets_a_token_for_its_certificate_only"),
    Mutant("a stranger passes a certificate on", CALL, "is_trusted(http.remote, settings.trusted_proxies)", "True",
           _CERT + "test_a_certificate_from_a_stranger_is_not_there"),
    Mutant("unknown keys make a storm", PUBLISHED, "rate is None or rate.exceeded", "rate is None",
           _K + "TestClients::test_unknown_keys_make_no_storm"),
    Mutant("a key that was removed stays good", PUBLISHED, "keep_seconds + SPACING_SECONDS:", "keep_seconds + 9999:",
           _K + "TestClients::test_a_key_that_was_removed_is_refused_soon_after"),
    Mutant("an older key of ours counts for ever", SIGNING, "if self._clock.now() < self._replaced_at + OLDER_KEYS_STAY", "if True",
           _K + "TestSigningKeys::test_the_old_key_is_gone_when_what_it_signed_has_expired"),
    Mutant("a client over its limit goes on", "gateway/app.py", "    spend(request, gateway.rates, caller.client.client_id)\n", "",
           "tests/test_gateway_rates.py::TestOverHttp::test_a_client_over_its_limit_gets_429_and_another_does_not"),
    Mutant("any header says whose request it is", "gateway/peers.py",
           "hops and found is not None and any(found in network for network in trusted)", "hops",
           "tests/test_gateway_rates.py::test_a_token_request_counts_for_the_address_it_comes_from"),
    Mutant("any id of a caller is logged", "gateway/correlation.py", " and _UUID.fullmatch(theirs)", "",
           "tests/test_gateway_correlation.py::test_of_the_ids_of_callers_only_a_uuid_is_logged"),
    Mutant("the token of a professional says what it may do", PROFESSIONALS,
           "still(scope.split() if isinstance(scope, str) else (), client)", "frozenset(str(scope).split())",
           _P + "TestWhoItIs::test_no_more_is_open_than_the_directory_says"),
    Mutant("a token of the provider for another opens", PROFESSIONALS, "not in TYPES or not self._is_ours(claims)", "not in TYPES",
           _P + "TestBadTokens::test_a_bad_token_opens_nothing"),
]  # fmt: skip
"""Every way in which somebody could call as another, or keep others from calling."""

WRITING, FHIR_WRITING, FHIR_BATCH = "consent/writing.py", "gateway/writing.py", "gateway/api/batch.py"
_WRITES, _EDITS = "tests/test_consent_writing.py::", "tests/test_gateway_fhir_edits.py::"
_ONLY_THEIRS = _WRITES + "test_nothing_else_of_a_part_is_for_others"
_PLAN_ITSELF = _WRITES + "test_the_plan_itself_is_for_who_made_it"

FHIR_WRITES = [
    Mutant("anybody says how far a task is", WRITING, "if writer not in carriers_of(was, plan):", "if False:",
           _WRITES + "test_an_action_takes_the_steps_of_its_table_by_who_carries_it_out"),
    Mutant("any step is a step", WRITING, "if not stays and part.status not in allowed:", "if False:",
           _WRITES + "test_an_action_takes_the_steps_of_its_table_by_who_carries_it_out"),
    Mutant("a reason is taken away", WRITING, "if stays and was.status_reason == part.status_reason:", "if stays:",
           _WRITES + "test_a_reason_is_changed_but_not_taken_away"),
    Mutant("others change whom the plan names", WRITING, "    if was != now:\n", "    if False:\n", _PLAN_ITSELF),
    Mutant("others change what comes first", WRITING, "if there != [name for name in left if name in known]:", "if False:",
           _PLAN_ITSELF),
    Mutant("others change the text of their task", WRITING, '<= {"status", "status_reason"}', '<= {"status", "status_reason", "text"}',
           _ONLY_THEIRS),
    Mutant("a view that comes back is anybody's", "gateway/preparation.py", "            _only_theirs(known, plan, draft, ids, caller)\n",
           "", _EDITS + "test_a_provider_writes_by_no_door_what_is_not_its_own"),
    Mutant("a choice ends what waits for who made the plan", "gateway/choosing.py", "if recipient == plan.source:", "if False:",
           _EDITS + "test_a_choice_does_not_end_what_waits_for_who_made_the_plan"),
    Mutant("who made the plan hears nothing", "gateway/routing.py", "if plan.source and writer not in {None, plan.source}:", "if False:",
           _EDITS + "test_progress_goes_to_who_may_see_it_and_to_nobody_else"),
    Mutant("a version is not asked after", FHIR_WRITING, "if change.version is not None and",
           "if False and",
           _EDITS + "TestUpdate::test_asks_for_the_version_that_was_read"),
    Mutant("an unseen plan is told from none", FHIR_WRITING, "        return _no_plan(change.place)\n",
           '        return Refusal("not-found")\n',
           _EDITS + "TestCreate::test_asks_for_one_plan_that_its_maker_sees"),
    Mutant("a key stands for the view it was put in", FHIR_WRITING, "EditForm(*positions), caller, key, sent)",
           "EditForm(*positions), caller, key)",
           _EDITS + "TestUpdate::test_under_a_key_is_done_once"),
    Mutant("a key makes something new each time", FHIR_WRITING, "        if key is None:\n            return self._clock",
           "        if True:\n            return self._clock", _EDITS + "TestCreate::test_under_a_key_is_made_once"),
    Mutant("a patch grows without end", "gateway/patching.py", "if copied > MAX_COPIED_BYTES:", "if copied > 50 * MAX_COPIED_BYTES:",
           _EDITS + "TestPatch::test_does_not_grow_without_end"),
    Mutant("a patch makes another resource", FHIR_WRITING, 'if (resource.get("resourceType"), resource.get("id")) != name:', "if False:",
           _EDITS + "TestPatch::test_changes_neither_type_nor_id"),
    Mutant("a transaction is about several plans", FHIR_WRITING, "if len(set(plans)) > 1:", "if False:",
           _EDITS + "TestParts::test_of_several_plans_are_refused_by_name"),
    Mutant("what is new is not referred to", FHIR_WRITING, "_referring(change.resource, names) if names else change.resource",
           "change.resource", _EDITS + "TestParts::test_are_one_new_version"),
    Mutant("a place of the view is told for one that was sent", FHIR_WRITING, "place + pointer[found.end() :]", "pointer",
           _EDITS + "TestParts::test_are_all_kept_or_none"),
    Mutant("what is kept is told as absent", "gateway/api/edits.py", "if error.code not in _KEPT_ALL_THE_SAME:", "if True:",
           _EDITS + "TestCreate::test_of_what_its_maker_may_not_see_is_a_201_all_the_same"),
    Mutant("what is new takes another's place", "gateway/preparation.py", "        if other != part.id:\n", "        if False:\n",
           _EDITS + "test_what_is_new_takes_no_others_place"),
    Mutant("another server's URL is ours", FHIR_BATCH, "if found.absolute or found.scheme:", "if False:",
           _EDITS + "TestBatch::test_takes_a_url_in_every_form"),
    Mutant("an include asks for no scope", "gateway/api/resources.py", "union(*map(_targets_of, query.includes), ", "union(",
           _EDITS + "test_each_interaction_asks_for_its_scope"),
    Mutant("entries count in their order", "mappings/transaction.py", "as_listed(_checked(plan, places))", "_checked(plan, places)",
           _EDITS + "test_entries_in_any_order_are_the_same_plan"),
]  # fmt: skip
"""What may be written under FHIR, and by whom."""

SEARCHING, VISIBLE, SEARCH = "gateway/searching.py", "gateway/store/visible.py", "gateway/store/search.py"
RESOURCES, INDEXING = "gateway/api/resources.py", "gateway/indexing.py"
_FS, _FW = "tests/test_gateway_fhir_search.py::", "tests/test_gateway_fhir_withdrawal.py::"
_FQ, _FR = "tests/test_gateway_fhir_requests.py::", "tests/test_gateway_fhir_read.py::"
_FP, _FL = "tests/test_gateway_fhir_paging.py::", "tests/test_gateway_fhir_long.py::"
_ANY = _FS + "test_any_search_finds_what_the_caller_sees_and_nothing_else[provider-a-sqlite]"
_NEXT_QUESTION = _FW + "test_a_withdrawal_holds_from_the_next_question_on[sqlite]"
_CURSOR = _FQ + "test_a_cursor_goes_on_where_it_was_made_and_nowhere_else"

FHIR_READ = [
    Mutant("a search finds in everybody's index", SEARCH,
           '_OF_READER = (_R.c.reader == bindparam("reader"), _R.c.type == bindparam("type"))',
           '_OF_READER = (_R.c.type == bindparam("type"),)', _ANY),
    Mutant("what comes along is anybody's", SEARCH,
           '_R.c.reader == bindparam("reader"),\n        _R.c.name == _L.c.code,', "_R.c.name == _L.c.code,", _ANY),
    Mutant("not this code means another code", SEARCH, 'is_absent = shape[1] if kind in {"tokens", "missing"} else False',
           'is_absent = shape[1] if kind == "missing" else False', _ANY),
    Mutant("everything is what is read from these plans", SEARCH, "        _SHARED.c.id == fhir_share.c.id,\n",
           '        _SHARED.c.id == fhir_share.c.id,\n        _SHARED.c.id == "",\n',
           _FS + "test_everything_is_everything_seen_of_the_plans_of_a_resident[sqlite]"),
    Mutant("a choice makes nothing stale", "gateway/choosing.py", "    visible.mark_residents(tx, [row.resident], mark)\n", "",
           _NEXT_QUESTION),
    Mutant("a new version makes nothing stale", "gateway/keeping.py",
           "        visible.mark_plans(tx, concerned, self._clock.new_id())\n", "",
           _FW + "test_a_new_version_and_a_new_plan_are_found_at_once[sqlite]"),
    Mutant("an index outlives its day", INDEXING, "return datetime.combine(days[0], time.min, AMSTERDAM) if days else None",
           "return None", _FW + "test_the_edges_of_a_period_take_effect_by_themselves"),
    Mutant("an index outlives the directory", INDEXING, "reader.purpose, described)", "reader.purpose)",
           _FW + "test_an_organisation_that_changes_sees_what_it_may_see_now"),
    Mutant("a cursor is anybody's", SEARCHING, "(cursor.reader, cursor.about) == (reader_for(caller).key, about)",
           "cursor.about == about", _CURSOR),
    Mutant("a cursor goes on anywhere", SEARCHING, "(cursor.reader, cursor.about) == (reader_for(caller).key, about)",
           "cursor.reader == reader_for(caller).key", _CURSOR),
    Mutant("a cursor lives for ever", SEARCHING, "cursor.until < self._clock.now().timestamp()", "False",
           _FW + "test_a_page_lives_a_quarter_of_an_hour"),
    Mutant("a receipt names the whole plan", "gateway/shown.py",
           'return tuple(line for line in lines if known_as[line.part_id] in ids or (has_team and line.kind == "team"))',
           "return lines", _FR + "test_a_search_leaves_a_receipt_per_plan_with_what_its_page_shows"),
    Mutant("a history tells what was never given", "gateway/history.py", "reader, within=within)", "reader)",
           _FW + "test_what_was_never_given_is_in_no_history"),
    Mutant("who is read from another plan loses their place", VISIBLE, "            handed[row.type, row.id] = other\n", "",
           _FP + "test_a_resident_of_two_plans_is_on_one_page_also_when_one_goes"),
    Mutant("what comes along needs no scope", RESOURCES, "if name not in RECORDS and may_refer(parameter, name)",
           "if not name", _FQ + "test_what_may_come_along_needs_its_scope_too"),
    Mutant("a search has a version", RESOURCES, "if answer.version and answer.version in known", "if answer.version in known",
           _FQ + "test_a_search_has_no_version_to_compare"),
]  # fmt: skip
"""Reading and searching under /fhir: consent in the query, what makes an index stale, cursors, receipts and histories."""

AUDITS, CONSENTS, _RECORDS = "gateway/api/audits.py", "gateway/api/consents.py", "tests/test_gateway_fhir_records.py::"
_DOOR = _RECORDS + "test_there_is_no_side_door"
_STRANGER = _RECORDS + "TestConsent::test_who_has_no_plan_with_a_resident_finds_nothing"
_TOLD = _RECORDS + "TestAuditEvent::test_it_tells_what_a_receipt_tells_and_no_more"

RECORDS = [
    Mutant("a recipient knows of every receipt", AUDITS, "return None if call.by.is_admin else call.by.organisation", "return None",
           _RECORDS + "TestAuditEvent::test_one_is_read_by_who_may_know_of_it"),
    Mutant("a recipient knows the plan's version", AUDITS, "row.plan_version if is_own else row.view_version", "row.plan_version", _TOLD),
    Mutant("a recipient knows residents by their own ids", AUDITS, "as_known(call, row, is_own=is_own)", "as_known(call, row, is_own=True)",
           _TOLD),
    Mutant("everybody knows which client asked", AUDITS, "row.client if row.recipient == call.by.organisation else None", "row.client",
           _TOLD),
    Mutant("FHIR scopes alone open records", "gateway/api/records.py", "        call.by.require(scope)\n", "        pass\n", _DOOR),
    Mutant("anybody has a plan with anybody", "gateway/api/residents.py",
           "own = tuple(row for row in found if row.source == call.by.organisation)", "own = found", _STRANGER),
    Mutant("a withdrawal overwrites what it has not seen", "gateway/choosing.py", "    if version not in {None, found.version}:\n",
           "    if False:\n", _RECORDS + "TestConsent::test_of_two_changes_at_once_one_is_stale"),
    Mutant("a withdrawn Consent stays", CONSENTS, 'if resource.get("status") == "inactive":', "if False:",
           _RECORDS + "TestConsent::test_one_that_is_created_opens_what_it_says"),
    Mutant("a Provenance counts as all of its view", "gateway/shown.py", 'any(kind == "CarePlan" for kind, _ in named)',
           'any(kind in {"CarePlan", "Provenance"} for kind, _ in named)', _RECORDS + "TestProvenance::test_its_receipt_names_no_part"),
]  # fmt: skip
"""Guards of what stands beside plans under FHIR: receipts, choices, and where a view comes from."""

MUTANTS = [
    *CALLERS,
    *CONSENT_DECIDE,
    *CONSENT_INDEX,
    *CONSENT_REDACT,
    *CONSENT_REST,
    *GATEWAY_DELIVERY,
    *GATEWAY_READING,
    *BETWEEN_LOOK_AND_WRITE,
    *TOGETHER,
    *LEAKS,
    *PARTNERS,
    *WRITTEN_BACK,
    *RECORDS,
    *EDGE,
    *TRAIL,
    *FHIR_WRITES,
    *FHIR_READ,
]


class Copy:
    """A copy of the repository in which one worker breaks things."""

    def __init__(self, root: Path) -> None:
        """Copy the repository to `root`, and make sure that its packages are the ones that are imported."""
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        self.root = root
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.env = {**known, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        names = ("gateway", "adapters", "consent", "mappings")
        show = "import " + ", ".join(names) + "; print(*(m.__path__[0] for m in (" + ", ".join(names) + ")))"
        found = self._run("-c", show).stdout.split()
        if found != [str(root / name) for name in names]:
            raise SystemExit(f"the copy in {root} does not import itself: {found}")

    def pytest(self, *tests: str) -> int:
        """Run these tests here; return pytest's exit code. A program that hangs has failed."""
        try:
            return self._run("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests).returncode
        except subprocess.TimeoutExpired:
            return FAILED

    def kills(self, mutant: Mutant) -> str:
        """Apply one mutant, run its test, restore; return `killed`, or what is wrong."""
        path = self.root / mutant.file
        text = path.read_text()
        found = text.count(mutant.old)
        if found != 1:
            return f"its old text stands {found} times in {mutant.file}"
        path.write_text(text.replace(mutant.old, mutant.new))
        try:
            code = self.pytest(mutant.test)
        finally:
            path.write_text(text)
        return {PASSED: "survived", FAILED: "killed"}.get(code, f"no test ran (pytest exit {code})")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, *arguments],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )


def main(wanted: Sequence[str]) -> int:
    """Kill every mutant, or those whose name or file holds one of `wanted`; return 1 when one is left."""
    began = monotonic()
    chosen = [each for each in MUTANTS if not wanted or any(word in f"{each.file} {each.name}" for word in wanted)]
    with tempfile.TemporaryDirectory(prefix="planbrug-mutants-") as folder:
        free: SimpleQueue[Copy] = SimpleQueue()
        workers = min(os.cpu_count() or 1, len(chosen)) or 1
        for number in range(workers):
            free.put(Copy(Path(folder) / str(number)))

        def attempt(mutant: Mutant) -> str:
            copy = free.get()
            try:
                return copy.kills(mutant)
            finally:
                free.put(copy)

        green = free.get()
        if green.pytest(*sorted({mutant.test for mutant in chosen})) != PASSED:
            print("the tests are not green before anything is broken")
            return 1
        free.put(green)
        with ThreadPoolExecutor(workers) as pool:
            left = 0
            for mutant, outcome in zip(chosen, pool.map(attempt, chosen), strict=True):
                left += outcome != "killed"
                print(f"{outcome:9} {mutant.file}: {mutant.name}", flush=True)
    print(f"{len(chosen)} mutants, {len(chosen) - left} killed, {left} survived ({monotonic() - began:.0f} s)")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
