"""XHTML of a narrative: formatting only, nothing that runs, nothing from elsewhere (https://hl7.org/fhir/R4/narrative.html).

Elements and attributes are those that txt-1 lists; txt-2 asks for something to read. Stricter than R4 in one thing: a picture must
be inside the document, and a link must stay inside it or name a telephone or mailbox, so that no other system learns who reads it.
Read by expat, which is told to stop at a document type: without one there are no entities to expand or to fetch.
"""

import re
from xml.parsers import expat

from mappings.errors import Finding

XHTML = "http://www.w3.org/1999/xhtml"
MAX_DEPTH = 100

_XML = "http://www.w3.org/XML/1998/namespace"
_BASIC = (
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre"
    " q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var"
)
_PLAIN = (
    "abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff charset cite class"
    " colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name nowrap rel rev rowspan rules"
    " scope shape span src start style summary tabindex title type valign value vspace width"
)
_ELEMENTS, _ATTRIBUTES = frozenset(_BASIC.split()), frozenset(_PLAIN.split())
_ADDRESSES = frozenset({"cite", "href", "longdesc", "src"})
_INSIDE = re.compile(r"#[^\s]*|[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_LINK = re.compile(_INSIDE.pattern + r"|(mailto|tel):[^\s]+")
_PICTURE = re.compile(r"#[^\s]+|data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_PLACES = {("img", "src"): _PICTURE, ("a", "href"): _LINK}
_STYLE_REACHES_OUT = re.compile(
    r"url\s*\(|expression\s*\(|@|\\|javascript:|behavior|-moz-binding|image-set", re.IGNORECASE
)

REMEDIES = {
    "xhtml": "send well-formed XHTML in one div of the XHTML namespace, without a document type or named entities",
    "txt-1": "use only the elements and attributes of basic formatting that R4 lists; no scripts, forms, frames or events",
    "txt-2": "give text or a picture, or leave the narrative out",
    "narrative-link": "link only inside the document, and put pictures in it as data",
}


class _StopError(Exception):
    """Nothing after this can be read."""


class _Reader:
    """What was seen of one narrative."""

    def __init__(self) -> None:
        self.codes: dict[str, None] = {}
        self.depth = 0
        self.says = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Judge an element as it opens."""
        self.depth += 1
        namespace, _, local = name.rpartition(" ")
        if self.depth > MAX_DEPTH or (self.depth == 1 and (namespace, local) != (XHTML, "div")):
            self.stop()
        if namespace != XHTML or local not in _ELEMENTS:
            self.codes["txt-1"] = None
        self.says = self.says or local == "img"
        for attribute, value in attributes.items():
            self._attribute(local, attribute, value)

    def end(self, _: str) -> None:
        """Leave an element."""
        self.depth -= 1

    def text(self, text: str) -> None:
        """Notice whether there is something to read."""
        self.says = self.says or not text.isspace()

    def stop(self, *_: object) -> None:
        """Read no further: a document type, an instruction, too deep, or no div."""
        self.codes["xhtml"] = None
        raise _StopError

    def _attribute(self, element: str, attribute: str, value: str) -> None:
        namespace, _, local = attribute.rpartition(" ")
        if local not in _ATTRIBUTES or (namespace and (namespace, local) != (_XML, "lang")):
            self.codes["txt-1"] = None
        inside = _PLACES.get((element, local), _INSIDE)
        if local in _ADDRESSES and not inside.fullmatch(value.strip()):
            self.codes["narrative-link"] = None
        if local == "style" and _STYLE_REACHES_OUT.search(value):
            self.codes["narrative-link"] = None


def findings(div: str, pointer: str) -> list[Finding]:
    """Return what is wrong with the XHTML of a narrative, each kind once."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.stop
    parser.ProcessingInstructionHandler = reader.stop
    try:
        parser.Parse(div, True)  # noqa: FBT003
    except (expat.ExpatError, _StopError, UnicodeError):
        return [_finding(pointer, "xhtml")]
    if not reader.says:
        reader.codes["txt-2"] = None
    return [_finding(pointer, code) for code in reader.codes]


def _finding(pointer: str, code: str) -> Finding:
    return Finding(pointer=pointer, code=code, remedy=REMEDIES[code])
