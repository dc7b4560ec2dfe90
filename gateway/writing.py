"""Writing resources under FHIR: the caller's view of their plan with them in it, through the one intake, as one new version.

Nothing is written here by itself: what the writer could not see stays (`mappings.merge`), what is not the writer's to change is refused
(`consent.writing`), and every receiver whose view changed gets it.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.callers import Caller
from gateway.clock import Clock
from gateway.errors import ERRORS, Refusal, refusal
from gateway.indexing import Indexing
from gateway.intake import Intake, Received
from gateway.patching import patched
from gateway.seal import MasterKey
from gateway.shown import version_id
from gateway.sight import Sight, reader_for
from gateway.store import views, visible
from gateway.store.engine import Store
from mappings.bundle import encode_bundle, plan_to_bundle
from mappings.edge import check_resource
from mappings.elements import RESOURCE_TYPE, Resource, definition
from mappings.errors import Finding
from mappings.transaction import EditForm

PLAN_EXTENSION = definition("part-of-plan")
"""On a resource that has no `basedOn`: the CarePlan that it becomes part of."""

_OF_SEVERAL = frozenset({"Patient"})
"""A resident stands in several plans, and does not tell which."""

_BASED_ON = frozenset({"Task", "ServiceRequest", "Observation"})


class Written(Struct, frozen=True, kw_only=True):
    """What was written: where it is now, and what is to be said about it (pointers into the resource as sent).

    Nothing is said again of what was kept under its Idempotency-Key before.
    """

    id: str
    received: Received | None


class Change(Struct, frozen=True, kw_only=True):
    """A resource to change (`id`; when still at `version`, if that is given) or to make; `place`: where it stands in what was sent."""

    type: str
    resource: Resource
    id: str = ""
    version: str | None = None
    full_url: str = ""
    place: str = ""


class View(Struct, frozen=True, kw_only=True):
    """What a caller sees of a plan, as a Bundle."""

    plan_id: str
    version: int
    bundle: Resource


Once = tuple[str | None, bytes]
"""An Idempotency-Key, and what it stands for: what was sent rather than the view that it was put in."""


class Writing:
    """Writes resources for callers."""

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
        return await self._alone(
            caller, Change(type=name[0], id=name[1], resource=resource, version=version), key, sent
        )

    async def patch(
        self, caller: Caller, name: tuple[str, str], patch: bytes, version: str, key: str | None
    ) -> Written:
        """Change a resource by a JSON Patch (RFC 6902), when it is still at `version`. Raises Refusal."""
        sent = _ENCODER.encode(["PATCH", *name, version, patch.hex()])
        change = Change(type=name[0], id=name[1], resource={}, version=version)
        if not await self._intake.use_of(key, sent, caller):
            view = await self._view(caller, await self._plan_of_all(caller, [change]))
            _require_version(change, view)
            resource = patched(view.bundle["entry"][_position(view.bundle, change)]["resource"], patch)
            if (resource.get("resourceType"), resource.get("id")) != name:
                raise refusal("document", "/id", "a patch changes neither resourceType nor id")
            if found := await asyncio.to_thread(check_resource, resource):
                raise Refusal("document", found)
            change = replace(change, resource=resource)
        return await self._alone(caller, change, key, sent)

    async def create(self, caller: Caller, resource_type: str, resource: Resource, key: str | None) -> Written:
        """Add a resource to the plan that it names. Raises Refusal: a part without a plan is none."""
        sent = _ENCODER.encode(["POST", resource_type, resource])
        return await self._alone(caller, Change(type=resource_type, resource=resource), key, sent)

    async def _alone(self, caller: Caller, change: Change, key: str | None, sent: bytes) -> Written:
        ids, received = await self.write(caller, [change], key, sent)
        return Written(id=ids[0], received=received)

    async def write(
        self, caller: Caller, changes: Sequence[Change], key: str | None, sent: bytes
    ) -> tuple[tuple[str, ...], Received | None]:
        """Make all of these changes to one plan as one new version; return the ids in their order, and what became of it.

        Nothing is received again of what was kept under this key before. Raises Refusal, and then nothing is kept.
        """
        used = await self._intake.use_of(key, sent, caller)
        if used and all(each.id for each in changes):
            return tuple(each.id for each in changes), None
        view = await self._view(caller, await self._plan_of_all(caller, changes))
        new_ids = [self._new_id(caller, key, sent, number) for number, _ in enumerate(changes)]
        if key is not None:
            made = [
                each.id or self._made_before(view, each.type, new) for each, new in zip(changes, new_ids, strict=True)
            ]
            if all(made) and (used or not all(each.id for each in changes)):
                return tuple(made), None
        positions = _put_in(view, changes, new_ids)
        received = await self._received(view.bundle, positions, caller, (key, sent))
        by_place = {place: name for name, place in received.pointers.items()}
        ids = tuple(each.id or by_place.get(each.place, "") for each in changes)
        if not all(ids):
            raise Refusal("internal")
        return ids, received

    async def _plan_of_all(self, caller: Caller, changes: Sequence[Change]) -> str:
        """Return the id of the one plan that all changes are about. Raises Refusal: none that is seen, or several."""
        number = await self._indexing.fresh(reader_for(caller))
        found: list[tuple[Change, str]] = []
        for change in changes:
            name = (change.type, change.id) if change.id else ("CarePlan", _plan_of(change))
            plan_id = await self._store.read(partial(visible.resource_row, reader=number, name=name))
            if plan_id is None:
                raise _unseen(change)
            found.append((change, plan_id))
        plans = [plan_id for change, plan_id in found if change.type not in _OF_SEVERAL] or [found[0][1]]
        if len(set(plans)) > 1:
            remedy = "a transaction is about one plan; send what belongs to another in one of its own"
            others = [change for change, plan_id in found if plan_id != plans[0] and change.type not in _OF_SEVERAL]
            raise Refusal("document", [Finding(pointer=each.place, code="plans", remedy=remedy) for each in others])
        return plans[0]

    def _new_id(self, caller: Caller, key: str | None, sent: bytes, number: int) -> str:
        """Return the id that something new comes in under: under one key always the same, so that it is made once."""
        if key is None:
            return self._clock.new_id()
        digest = self._master.fingerprint("new part", caller.client.client_id, key, sent.hex(), str(number))
        return str(UUID(hex=digest[:32]))

    def _made_before(self, view: View, resource_type: str, new_id: str) -> str:
        """Return the id of what came in under `new_id` before, when it is still shown."""
        kinds = [kind for kind, name in RESOURCE_TYPE.items() if name == resource_type]
        made = {self._master.part_id(view.plan_id, f"{kind}:{new_id}") for kind in kinds}
        ids = (str(each["resource"]["id"]) for each in view.bundle["entry"])
        return next((each for each in ids if each in made), "")

    async def _view(self, caller: Caller, plan_id: str) -> View:
        """Return the caller's view of a plan. Raises Refusal."""
        reader = reader_for(caller)
        plan = await self._sight.load(plan_id)
        look = await self._sight.look(plan, reader) if plan else None
        if look is None or look.shown is None:
            raise Refusal("not-found")
        key = (plan_id, reader.key)
        row = (await self._store.read(lambda tx: views.rows_of(tx, [key]))).get(key)
        state = views.state_of(row, look.fingerprint, self._clock.now())
        bundle = plan_to_bundle(look.stamped(state), self._base_url)
        return View(plan_id=plan_id, version=state.version, bundle=bundle)

    async def _received(self, bundle: Resource, positions: dict[int, str], caller: Caller, once: Once) -> Received:
        """Take the view in; what is said about it has its places in what was sent."""
        key, sent = once
        try:
            received = await self._intake.receive(encode_bundle(bundle), EditForm(*positions), caller, key, sent)
        except Refusal as error:
            found = [replace(each, pointer=_sent_place(each.pointer, positions) or "") for each in error.findings]
            raise Refusal(error.code, found, error.headers) from error
        pointers = {name: _sent_place(pointer, positions) for name, pointer in received.pointers.items()}
        loss = [(each, _sent_place(each.pointer, positions)) for each in received.loss]
        return replace(
            received,
            pointers={name: place for name, place in pointers.items() if place is not None},
            loss=tuple(replace(each, pointer=place) for each, place in loss if place is not None),
        )


def _put_in(view: View, changes: Sequence[Change], new_ids: Sequence[str]) -> dict[int, str]:
    """Put changed and new resources in a view; return where in it each stands, and where that stood in what was sent."""
    entries = view.bundle["entry"]
    positions: dict[int, str] = {}
    names = {each.full_url: f"urn:uuid:{new}" for each, new in zip(changes, new_ids, strict=True) if each.full_url}
    for change, new_id in zip(changes, new_ids, strict=True):
        resource = _referring(change.resource, names) if names else change.resource
        if change.id:
            _require_version(change, view)
            position = _position(view.bundle, change)
            entries[position]["resource"] = _restored(resource, entries[position]["resource"])
        else:
            position, request = len(entries), {"method": "POST", "url": change.type}
            made = _made(resource, view.plan_id)
            entries.append({"fullUrl": f"urn:uuid:{new_id}", "resource": made, "request": request})
        if position in positions:
            raise _at(change, "duplicate", "change every resource once")
        positions[position] = change.place
    return positions


def _referring(value: Any, names: Mapping[str, str]) -> Any:
    """Return a resource whose references to what is new are those that it comes in under."""
    if isinstance(value, list):
        return [_referring(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: names.get(each, each) if name == "reference" and isinstance(each, str) else _referring(each, names)
        for name, each in value.items()
    }


def _made(resource: Resource, plan_id: str) -> Resource:
    """Return a new resource as it comes in: without what only a server gives, and what named its plan."""
    made = {name: value for name, value in _without_plan(resource, plan_id).items() if name not in {"id", "meta"}}
    if meta := {name: value for name, value in resource.get("meta", {}).items() if name not in _OURS}:
        made["meta"] = meta
    return made


def _sent_place(pointer: str, positions: Mapping[int, str]) -> str | None:
    """Return where something of the view stands in what was sent; None when it was not sent."""
    found = re.match(r"/entry/(\d+)/resource(?=/|$)", pointer)
    place = positions.get(int(found.group(1))) if found else None
    return None if found is None or place is None else place + pointer[found.end() :]


def _require_version(change: Change, view: View) -> None:
    """Raise Refusal when a resource is no longer at the version that its writer read."""
    if change.version is not None and change.version != version_id(change.type, view.version, view.plan_id):
        raise _at(change, "stale", ERRORS["stale"].remedy) if change.place else Refusal("stale")


def _at(change: Change, code: str, remedy: str) -> Refusal:
    row = code if code in ERRORS else "document"
    return Refusal(row, [Finding(pointer=change.place, code=code, remedy=remedy)])


def _unseen(change: Change) -> Refusal:
    """Return the refusal of what is not there for this caller: what may not be seen looks the same."""
    if not change.id:
        return _no_plan(change.place)
    return _at(change, "not-found", ERRORS["not-found"].remedy) if change.place else Refusal("not-found")


_OURS = frozenset({"versionId", "lastUpdated"})
_ENCODER = msgspec.json.Encoder(order="deterministic")


def _restored(resource: Resource, shown: Resource) -> Resource:
    """Return a resource with the version and date that it was shown with: a caller that leaves them out changes nothing by that."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _OURS}
    ours = {name: value for name, value in shown.get("meta", {}).items() if name in _OURS}
    return {**resource, "meta": {**ours, **meta}} if ours or meta else resource


def _position(bundle: Resource, change: Change) -> int:
    for position, entry in enumerate(bundle["entry"]):
        if (entry["resource"]["resourceType"], entry["resource"]["id"]) == (change.type, change.id):
            return position
    raise _unseen(change)


def _plan_of(change: Change) -> str:
    """Return the id of the CarePlan that a resource says it is part of. Raises Refusal."""
    resource = change.resource
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
        raise _no_plan(change.place)
    return plans.pop()


def _no_plan(place: str) -> Refusal:
    remedy = f"name one plan that you can see: basedOn CarePlan/id (Task, ServiceRequest, Observation), or the extension {PLAN_EXTENSION}"
    return refusal("document", place, remedy)


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
