"""A FHIR R4B server with fhirstarter, as its README and its example build one: handlers over dicts of JSON, nothing kept on disk.

`FHIR_SEQUENCE=R4B PORT=8000 python app.py`. Read and create for the types of which a plan is made; search for Task, by `_id`, `focus`
and `status`, each looked up in a dict (not by scanning, which the example does and which would grow with the plans).
"""

import os
from collections import defaultdict
from uuid import uuid4

import uvicorn
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.task import Task
from fhirstarter import FHIRProvider, FHIRStarter, InteractionContext
from fhirstarter.exceptions import FHIRResourceNotFoundError

TYPES = (
    "CarePlan",
    "CareTeam",
    "Goal",
    "Group",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Task",
)
DATABASE: dict[str, dict[str, str]] = {name: {} for name in TYPES}
BY_FOCUS: defaultdict[str, list[str]] = defaultdict(list)
BY_STATUS: defaultdict[str, list[str]] = defaultdict(list)
"""Ids of Tasks by what they say. Nothing is ever changed here, so nothing is taken out."""

provider = FHIRProvider()


def offer(name: str) -> None:
    """Register read and create for a type."""
    model = get_fhir_model_class(name)

    @provider.read(model)
    async def read(_context: InteractionContext, id_: str) -> model:
        found = DATABASE[name].get(id_)
        if not found:
            raise FHIRResourceNotFoundError
        return model.model_validate_json(found)

    @provider.create(model)
    async def create(_context: InteractionContext, resource: model) -> str:
        resource.id = str(uuid4())
        DATABASE[name][resource.id] = resource.model_dump_json()
        if name == "Task":
            note(resource)
        return resource.id


def note(task: Task) -> None:
    """Remember what a Task can be found by."""
    BY_STATUS[task.status].append(task.id)
    if task.focus:
        BY_FOCUS[task.focus.reference].append(task.id)


@provider.search_type(Task)
async def search(context: InteractionContext, _id: str | None, focus: str | None, status: str | None) -> Bundle:
    """Find Tasks by whatever is given; all of it must hold."""
    asked = (
        (_id, [_id] if _id in DATABASE["Task"] else []),
        (focus, BY_FOCUS.get(focus, [])),
        (status, BY_STATUS.get(status, [])),
    )
    lists = [found for value, found in asked if value is not None]
    first = min(lists, key=len, default=list(DATABASE["Task"]))
    others = [set(found) for found in lists if found is not first]
    matches = [name for name in first if all(name in found for found in others)] if others else first
    page = matches[: int(context.request.query_params.get("_count", 50))]
    entries = [{"resource": Task.model_validate_json(DATABASE["Task"][name])} for name in page]
    return Bundle(type="searchset", total=len(matches), entry=entries or None)


app = FHIRStarter()
for each in TYPES:
    offer(each)
app.add_providers(provider)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))
