"""May this organisation see this part? Once with casbin, asked per decision; once with sets, worked out per organisation."""

import logging  # noqa: TID251 - casbin logs every decision unless told otherwise
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

import casbin

logging.getLogger("casbin").setLevel(logging.WARNING)

MODEL = """
[request_definition]
r = org, domain, kind
[policy_definition]
p = org, domain, kind, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.org == p.org && (p.domain == "*" || r.domain == p.domain) && (p.kind == "*" || r.kind == p.kind)
"""

Rule = tuple[str, str, str, str]
"""Organisation, domain or *, kind or *, allow or deny."""


class About(Protocol):
    """What a decision looks at."""

    kind: str
    domain: str | None
    subjects: tuple[str, ...]


May = Callable[[str, About], bool]


def rules_of(choices: Iterable[dict[str, Any]]) -> list[Rule]:
    """Return one rule per pair of domain and kind of the choices that hold today."""
    today = datetime.now(UTC).date().isoformat()
    return [
        (choice["recipient"]["organisation"], domain, kind, "allow" if choice["effect"] == "permit" else "deny")
        for choice in choices
        if choice.get("from", today) <= today <= choice.get("until", today)
        for parts in choice["parts"]
        for domain in parts.get("domains", ["*"])
        for kind in parts.get("kinds", ["*"])
    ]


def by_casbin(choices: dict[str, list[dict[str, Any]]]) -> May:
    """Ask a policy engine for every subject of every part."""
    enforcers = {resident: _enforcer(rules_of(made)) for resident, made in choices.items()}

    def may(organisation: str, about: About) -> bool:
        return all(enforcers[who].enforce(organisation, about.domain or "", about.kind) for who in about.subjects)

    return may


def by_sets(choices: dict[str, list[dict[str, Any]]]) -> May:
    """Look in sets that were made once per plan."""
    allowed: dict[tuple[str, str], set[tuple[str, str]]] = {}
    denied: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for resident, made in choices.items():
        for organisation, domain, kind, effect in rules_of(made):
            found = allowed if effect == "allow" else denied
            found.setdefault((resident, organisation), set()).add((domain, kind))

    def may(organisation: str, about: About) -> bool:
        asked = {(about.domain or "", about.kind), (about.domain or "", "*"), ("*", about.kind), ("*", "*")}
        return all(
            asked & allowed.get((who, organisation), set()) and not asked & denied.get((who, organisation), set())
            for who in about.subjects
        )

    return may


def _enforcer(rules: list[Rule]) -> casbin.Enforcer:
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_policies(list(dict.fromkeys(rules)))
    return enforcer
