"""The packaged formats, their examples, and documents drawn from their schemas: `from forms import NAMES, documents`.

A drawn document stands in the form in which its format writes it, and every property of the schema may occur in it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

import mappings
from mappings.format import Format, compile_format
from mappings.plan import JSON_TO_PLAN, SupportPlan

FOLDERS = Path(next(iter(mappings.__path__))) / "formats"
NAMES = sorted(path.parent.name for path in FOLDERS.glob("*/mapping.yaml"))
CASES = sorted(path.parent for path in FOLDERS.glob("*/examples/*/source.json"))


def case_id(case: Path) -> str:
    """Return format/case."""
    return f"{case.parents[1].name}/{case.name}"


def compiled(name: str) -> Format:
    """Compile a packaged format."""
    folder = FOLDERS / name
    return compile_format(name, (folder / "mapping.yaml").read_bytes(), (folder / "schema.json").read_bytes())


FORMATS: dict[str, Format] = {name: compiled(name) for name in NAMES}
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads((FOLDERS / name / "schema.json").read_bytes()) for name in NAMES}


def source(name: str, case: str) -> bytes:
    """Return an example as sent."""
    return (FOLDERS / name / "examples" / case / "source.json").read_bytes()


def plan_of(case: Path) -> SupportPlan:
    """Return the plan that an example says it is."""
    return JSON_TO_PLAN.decode((case / "plan.json").read_bytes())


class Words(NamedTuple):
    """What a format calls those whom others refer to, and whether it always says whom a part is about and how secret it is."""

    residents: str
    team: str
    goals: str
    resident: str
    professional: str
    guarded: bool = False


WORDS = {
    "plan-van-aanpak": Words("bewoners", "betrokkenen", "doelen", "bewoner", "betrokkene"),
    "1gezin1plan": Words("gezinsleden", "professionals", "doelen", "gezinslid", "professional"),
    "veilig-verder-plan": Words("gezinsleden", "professionals", "doelencheck", "gezinslid", "professional", True),
}

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
DATE = st.dates().map(str)
BSN = st.sampled_from(["999900006", "999900018", "999900055"])
FIXED = {"bsn": BSN, "postcode": st.just("9999 XA"), "gemeentecode": st.just("9901"), "kvk": st.just("99999999")}
FIXED |= {"agb": st.just("41410001"), "ura": st.just("00001111"), "oin": st.just("00000099000000001000")}
DEFAULTS = {"wet": "geen", "vertrouwelijk": False, "mantelzorger": False, "magGenoemdWorden": False}
DEFAULTS |= {"regie": False, "zorgcoordinator": False, "vasteContactpersoon": False}
ALWAYS = {"doelen": {"status": "actief"}, "acties": {"status": "gevraagd"}, "akkoord": {"eens": True}}
ALWAYS |= {"voorzieningen": {"status": "aangevraagd"}, "doelencheck": {"status": "actief"}}
ACTOR = {"$ref": "#/$defs/actor"}


@st.composite
def documents(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw a document of a packaged format."""
    return Pen(draw, name).document()


class Pen:
    """One document being drawn."""

    def __init__(self, draw: st.DrawFn, name: str) -> None:
        self.draw, self.schema, self.words = draw, SCHEMAS[name], WORDS[name]
        few = st.integers(0, 2)
        self.keys: dict[str, list[Any]] = {
            self.words.residents: [f"r{n}" for n in range(draw(st.integers(1, 3)))],
            "netwerk": [f"n{n}" for n in range(draw(few))],
            self.words.team: [f"b{n}" for n in range(draw(few))],
            "organisaties": [f"o{n}" for n in range(draw(few))],
            self.words.goals: draw(st.lists(st.one_of(st.integers(0, 99), st.just("x-9")), max_size=2, unique=True)),
        }
        self.scopes = dict.fromkeys(("over", "vanBewoners", "vanGezinsleden"), self.words.residents)
        self.scopes |= dict.fromkeys(("vastgelegdDoor", "organisatie", "aanbieder"), "organisaties")
        self.scopes |= {"genoemd": "netwerk", "doelen": self.words.goals}
        self.actors = {self.words.resident: self.words.residents, "netwerk": "netwerk"}
        self.actors |= {self.words.professional: self.words.team, "organisatie": "organisaties"}

    def document(self) -> dict[str, Any]:
        """Draw the whole."""
        properties = self.schema["properties"]
        whole = {"planNummer": self.draw(TEXT), "status": self.draw(st.sampled_from(properties["status"]["enum"]))}
        if self.draw(st.booleans()):
            whole |= {"planId": self.draw(TEXT), "begindatum": self.draw(DATE)}
        return whole | self.lists(properties)

    def lists(self, properties: dict[str, Any]) -> dict[str, Any]:
        """Draw the lists, also those below another property; an empty one is absent."""
        found: dict[str, Any] = {}
        for name, schema in properties.items():
            if schema.get("type") == "array":
                found[name] = [self.item(schema["items"], name, key) for key in self.own_keys(name, schema)]
            elif schema.get("type") == "object":
                found[name] = self.lists(schema["properties"]) or self.one_of(schema["properties"])
        return {name: value for name, value in found.items() if value}

    def one_of(self, properties: dict[str, Any]) -> dict[str, Any]:
        """Draw one list of one item."""
        name = self.draw(st.sampled_from(sorted(properties)))
        return {name: [self.item(properties[name]["items"], name, None)]}

    def own_keys(self, name: str, schema: dict[str, Any]) -> list[Any]:
        """Return the keys of the items of a list; None for an item without one."""
        if name in self.keys:
            return self.keys[name]
        count = self.draw(st.integers(schema.get("minItems", 0), 2))
        if "nummer" in self.resolved(schema["items"])["properties"]:
            return list(range(count))
        return [self.draw(st.sampled_from([None, f"{name}.{index}"])) for index in range(count)]

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a schema with its $ref folded in."""
        if "$ref" not in schema:
            return schema
        target = self.resolved(self.schema["$defs"][schema["$ref"].rpartition("/")[2]])
        properties = {**target.get("properties", {}), **schema.get("properties", {})}
        return {**target, **schema, "$ref": "", "properties": properties}

    def item(self, schema: dict[str, Any], where: str, key: Any) -> dict[str, Any]:
        """Draw an object: what always stands in it, and some of the rest."""
        schema = self.resolved(schema)
        item = dict(ALWAYS.get(where, {}))
        if key is not None:
            item["nummer" if "nummer" in schema["properties"] else "ref"] = key
        for name, below in schema["properties"].items():
            if name in ("ref", "nummer") or (name == "over" and where in (self.words.residents, "netwerk", "adres")):
                continue
            always = self.always(name, below)
            if always or name in schema.get("required", ()) or self.draw(st.integers(0, 3)) == 0:
                value = self.value(name, below)
                if value is not None and (always or value != DEFAULTS.get(name)):
                    item[name] = value
        if "geheimhouding" in item and ("vastgelegdDoor" not in item or not item["geheimhouding"]):
            del item["geheimhouding"]
        if self.words.guarded and where == self.words.residents and not item.keys().isdisjoint({"telefoon", "email"}):
            item.setdefault("adres", self.item(schema["properties"]["adres"], "adres", None))
        return item

    def always(self, name: str, schema: dict[str, Any]) -> bool:
        """Say whether this format writes a property each time, also when it says what absence would say."""
        return "const" in schema or (self.words.guarded and name in ("over", "vanGezinsleden", "vertrouwelijk"))

    def value(self, name: str, schema: dict[str, Any]) -> Any:
        """Draw the value of a property, None when there is nothing to refer to."""
        if name in self.scopes:
            return self.reference(name, schema)
        if schema == ACTOR:
            return self.actor()
        if schema.get("type") == "object":
            return self.item(schema, name, None) or None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.draw(st.sampled_from(schema["enum"]))
        if schema.get("type") == "integer":
            return self.draw(st.integers(schema.get("minimum", -(2**53)), schema.get("maximum", 2**53)))
        if schema.get("type") == "boolean":
            return self.draw(st.booleans())
        return self.draw(DATE if schema.get("format") == "date" else FIXED.get(name, TEXT))

    def actor(self) -> dict[str, Any]:
        """Draw somebody who is known, or only what kind of person it is."""
        kind = self.draw(st.sampled_from(sorted(self.actors)))
        known = self.keys[self.actors[kind]]
        return {"soort": kind} | (
            {"ref": self.draw(st.sampled_from(known))} if known and self.draw(st.booleans()) else {}
        )

    def reference(self, name: str, schema: dict[str, Any]) -> Any:
        """Draw one key, or a list of keys; all residents only where that is written out."""
        known = self.keys[self.scopes[name]]
        if schema.get("type") != "array":
            return self.draw(st.sampled_from(known)) if known else None
        chosen = self.draw(st.lists(st.sampled_from(known), min_size=1, unique=True)) if known else []
        everybody = self.scopes[name] == self.words.residents and chosen == known and not self.words.guarded
        return None if not chosen or everybody else chosen
