"""Turn a view into bytes: FHIR, or one of the plan formats. The last step, on what is already redacted."""

from gateway.shelf import Shelf
from mappings.bundle import encode_bundle, plan_to_bundle
from mappings.plan import SupportPlan

FHIR = "fhir"
FHIR_JSON = "application/fhir+json"


class UnknownFormatError(Exception):
    """No such format is on the shelf."""


class Renderer:
    """Renders views for one gateway."""

    def __init__(self, shelf: Shelf, fhir_url: str) -> None:
        self._shelf = shelf
        self._fhir_url = fhir_url

    def knows(self, name: str) -> bool:
        """Say whether this format can be rendered."""
        return name == FHIR or self._shelf.get(name) is not None

    def render(self, view: SupportPlan, name: str) -> tuple[bytes, str]:
        """Return the body and its content type; the same view gives the same bytes. Raises UnknownFormatError."""
        if name == FHIR:
            return encode_bundle(plan_to_bundle(view, self._fhir_url)), FHIR_JSON
        found = self._shelf.get(name)
        if found is None:
            raise UnknownFormatError(name)
        return found.write(view), media_type(name)


def media_type(format_name: str) -> str:
    """Return the media type of a plan format."""
    return f"application/vnd.planbrug.{format_name}+json"
