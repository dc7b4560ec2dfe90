"""Writing one resource under FHIR: the caller's view of its plan with that resource in it, through the one intake, as a new version.

Nothing is written here by itself: what the writer could not see stays (`mappings.merge`), what is not the writer's to change is refused
(`consent.writing`), and every receiver whose view changed gets it.
"""

import asyncio
from typing import Any
from uuid import UUID

import jsonpatch
import jsonpointer
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.errors import Refusal, refusal, refused
from gateway.indexing import Indexing
from gateway.intake import Intake, Received
from gateway.seal import MasterKey
from gateway.shown import version_id
from gateway.sight import Sight, reader_for
from gateway.store import views, visible
from gateway.store.engine import Store
from mappings.bundle import encode_bundle, plan_to_bundle
from mappings.document import parse_document
from mappings.edge import check_resource
from mappings.elements import RESOURCE_TYPE, Resource, definition
from mappings.errors import Finding, MappingError
from mappings.transaction import EditForm

PLAN_EXTENSION = definition("part-of-plan")
"""On a resource that has no `basedOn`: the CarePlan that it becomes part of."""

MAX_OPERATIONS = 1_000
MAX_COPIED_BYTES = 1_000_000
"""Of a patch: copies of copies double what they copy."""

_BASED_ON = frozenset({"Task", "ServiceRequest", "Observation"})


class Written(Struct, frozen=True, kw_only=True):
    """What was written: where it is now, and what is to be said about it (pointers into the resource as sent).

    Nothing is said again of what was kept under its Idempotency-Key before.
    """

    id: str
    received: Received | None


class Writing:
    """Writes single resources for callers."""

    def __init__(
        self,
        *,
        store: Store,
        sight: Sight,
        indexing: Indexing,
        intake: Intake,
        master: MasterKey,
        clock: Clock,
        base_url: str,
    ) -> None:
        self._store = store
        self._sight = sight
        self._indexing = indexing
        self._intake = intake
        self._master = master
        self._clock = clock
        self._base_url = base_url

    async def update(
        self, caller: Caller, resource_type: str, resource: Resource, version: str, key: str | None
    ) -> Written:
        """Make this the resource, when it is still at `version`. Raises Refusal."""
        name = (resource_type, str(resource["id"]))
        sent = _ENCODER.encode(["PUT", *name, version, resource])
        if await self._intake.use_of(key, sent, caller):
            return Written(id=name[1], received=None)
        return await self._update(caller, name, resource, version, (key, sent))

    async def _update(
        self, caller: Caller, name: tuple[str, str], resource: Resource, version: str, once: "Once"
    ) -> Written:
        bundle = await self._view(caller, name, version)
        position = _position(bundle, name)
        bundle["entry"][position]["resource"] = _restored(resource, bundle["entry"][position]["resource"])
        received = await self._received(bundle, position, caller, once)
        return Written(id=name[1], received=received)

    async def patch(
        self, caller: Caller, name: tuple[str, str], patch: bytes, version: str, key: str | None
    ) -> Written:
        """Change a resource by a JSON Patch (RFC 6902), when it is still at `version`. Raises Refusal."""
        sent = _ENCODER.encode(["PATCH", *name, version, patch.hex()])
        if await self._intake.use_of(key, sent, caller):
            return Written(id=name[1], received=None)
        bundle = await self._view(caller, name, version)
        entry = bundle["entry"][_position(bundle, name)]
        resource = patched(entry["resource"], patch)
        if (resource.get("resourceType"), resource.get("id")) != name:
            raise refusal("document", "/id", "a patch changes neither resourceType nor id")
        if found := await asyncio.to_thread(check_resource, resource):
            raise Refusal("document", found)
        return await self._update(caller, name, resource, version, (key, sent))

    async def create(self, caller: Caller, resource_type: str, resource: Resource, key: str | None) -> Written:
        """Add a resource to the plan that it names. Raises Refusal: a part without a plan is none."""
        sent = _ENCODER.encode(["POST", resource_type, resource])
        await self._intake.use_of(key, sent, caller)
        plan_id = _plan_of(resource)
        new_id = self._new_id(caller, key, sent)
        bundle = await self._view(caller, ("CarePlan", plan_id), None, is_named=True)
        if key is not None and (known := self._made_before(bundle, plan_id, resource_type, new_id)):
            return Written(id=known, received=None)
        made = {name: value for name, value in _without_plan(resource, plan_id).items() if name not in {"id", "meta"}}
        if meta := {name: value for name, value in resource.get("meta", {}).items() if name not in _OURS}:
            made["meta"] = meta
        position = len(bundle["entry"])
        bundle["entry"].append(
            {
                "fullUrl": f"urn:uuid:{new_id}",
                "resource": made,
                "request": {"method": "POST", "url": resource_type},
            }
        )
        received = await self._received(bundle, position, caller, (key, sent))
        place = f"/entry/{position}/resource"
        made_id = next((name for name, pointer in received.pointers.items() if pointer == place), None)
        if made_id is None:
            raise Refusal("internal")
        return Written(id=made_id, received=received)

    def _new_id(self, caller: Caller, key: str | None, sent: bytes) -> str:
        """Return the id that something new comes in under: under one key always the same, so that it is made once."""
        if key is None:
            return self._clock.new_id()
        return str(UUID(hex=self._master.fingerprint("new part", caller.client.client_id, key, sent.hex())[:32]))

    def _made_before(self, bundle: Resource, plan_id: str, resource_type: str, new_id: str) -> str | None:
        """Return the id of what came in under `new_id` before, when it is still shown."""
        kinds = [kind for kind, name in RESOURCE_TYPE.items() if name == resource_type]
        made = {self._master.part_id(plan_id, f"{kind}:{new_id}") for kind in kinds}
        return next((each["resource"]["id"] for each in bundle["entry"] if each["resource"]["id"] in made), None)

    async def _view(
        self, caller: Caller, name: tuple[str, str], version: str | None, *, is_named: bool = False
    ) -> Resource:
        """Return the caller's view of the plan that shows a resource, as a Bundle. Raises Refusal."""
        reader = reader_for(caller)
        number = await self._indexing.fresh(reader)
        plan_id = await self._store.read(lambda tx: visible.resource_row(tx, number, name))
        plan = await self._sight.load(plan_id) if plan_id else None
        look = await self._sight.look(plan, reader) if plan else None
        if plan_id is None or look is None or look.shown is None:
            raise _no_plan() if is_named else Refusal("not-found")
        key = (plan_id, reader.key)
        row = (await self._store.read(lambda tx: views.rows_of(tx, [key]))).get(key)
        state = views.state_of(row, look.fingerprint, self._clock.now())
        if version is not None and version != version_id(name[0], state.version, plan_id):
            raise Refusal("stale")
        return plan_to_bundle(look.stamped(state), self._base_url)

    async def _received(self, bundle: Resource, position: int, caller: Caller, once: "Once") -> Received:
        key, sent = once
        try:
            received = await self._intake.receive(encode_bundle(bundle), EditForm(position), caller, key, sent)
        except Refusal as error:
            place = f"/entry/{position}/resource"
            found = [
                Finding(pointer=each.pointer.removeprefix(place), code=each.code, remedy=each.remedy)
                for each in error.findings
            ]
            raise Refusal(error.code, found, error.headers) from error
        return _within(received, position)


Once = tuple[str | None, bytes]
"""An Idempotency-Key, and what it stands for: what was sent rather than the view that it was put in."""

_OURS = frozenset({"versionId", "lastUpdated"})
_ENCODER = msgspec.json.Encoder(order="deterministic")


_CANNOT = (
    jsonpatch.JsonPatchException,
    jsonpointer.JsonPointerException,
    TypeError,
    KeyError,
    AttributeError,
    ValueError,
)


def patched(resource: Resource, patch: bytes) -> Resource:
    """Return a resource after a JSON Patch. Raises Refusal, and then says which operation cannot be done, never a value."""
    try:
        operations = parse_document(patch)
    except MappingError as error:
        raise refused(error) from error
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise refusal("document", "", f"send a JSON Patch: a list of at most {MAX_OPERATIONS} operations")
    changed: Any = msgspec.json.decode(msgspec.json.encode(resource))
    copied = 0
    for position, operation in enumerate(operations):
        try:
            changed = jsonpatch.JsonPatch([operation]).apply(changed, in_place=True)
        except jsonpatch.JsonPatchTestFailed as error:
            raise refusal("document", f"/{position}", "this test does not hold; read the resource again") from error
        except _CANNOT as error:
            raise refusal(
                "document", f"/{position}", "this operation cannot be done on the resource as it is"
            ) from error
        if operation["op"] == "copy":
            copied += len(msgspec.json.encode(changed))
            if copied > MAX_COPIED_BYTES:
                raise refusal("document", f"/{position}", "copy less: a patch may not make a resource grow by itself")
    if not isinstance(changed, dict):
        raise refusal("document", "", "a patch leaves one resource")
    return changed


def _restored(resource: Resource, shown: Resource) -> Resource:
    """Return a resource with the version and date that it was shown with: a caller that leaves them out changes nothing by that."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _OURS}
    ours = {name: value for name, value in shown.get("meta", {}).items() if name in _OURS}
    return {**resource, "meta": {**ours, **meta}} if ours or meta else resource


def _position(bundle: Resource, name: tuple[str, str]) -> int:
    for position, entry in enumerate(bundle["entry"]):
        if (entry["resource"]["resourceType"], entry["resource"]["id"]) == name:
            return position
    raise Refusal("not-found")


def _plan_of(resource: Resource) -> str:
    """Return the id of the CarePlan that a resource says it is part of. Raises Refusal."""
    named = resource.get("basedOn") if resource.get("resourceType") in _BASED_ON else None
    references = [each.get("reference") for each in named if isinstance(each, dict)] if isinstance(named, list) else []
    extensions = resource.get("extension")
    for each in extensions if isinstance(extensions, list) else ():
        if isinstance(each, dict) and each.get("url") == PLAN_EXTENSION:
            references += [value.get("reference") for value in [each.get("valueReference")] if isinstance(value, dict)]
    plans = {
        each.removeprefix("CarePlan/") for each in references if isinstance(each, str) and each.startswith("CarePlan/")
    }
    if len(plans) != 1:
        raise _no_plan()
    return plans.pop()


def _no_plan() -> Refusal:
    remedy = f"name one plan that you can see: basedOn CarePlan/id (Task, ServiceRequest, Observation), or the extension {PLAN_EXTENSION}"
    return refusal("document", "", remedy)


def _without_plan(resource: Resource, plan_id: str) -> Resource:
    """Return a resource without what named its plan: that it stands in the plan says it."""
    left = dict(resource)
    place = f"CarePlan/{plan_id}"
    if isinstance(named := left.get("basedOn"), list):
        left["basedOn"] = [each for each in named if not (isinstance(each, dict) and each.get("reference") == place)]
    if isinstance(extensions := left.get("extension"), list):
        left["extension"] = [
            each for each in extensions if not (isinstance(each, dict) and each.get("url") == PLAN_EXTENSION)
        ]
    return {name: value for name, value in left.items() if value != [] or name not in {"basedOn", "extension"}}


def _within(received: Received, position: int) -> Received:
    """Return what was found about the entry that was written, with pointers into the resource."""
    place = f"/entry/{position}/resource"
    loss = tuple(
        replace(each, pointer=each.pointer.removeprefix(place))
        for each in received.loss
        if each.pointer.startswith(f"{place}/")
    )
    return replace(received, loss=loss)
