"""The one table of routes: what can be asked, by whom and with what, and how it is answered or refused."""

from aiohttp import web

from consent.choice import Choice
from gateway.api import (
    asyncapi,
    batch,
    capabilities,
    deliveries,
    docs,
    openapi,
    organisations,
    plans,
    public,
    pulls,
    residents,
)
from gateway.api.call import Call, answer
from gateway.api.dispatch import RESOURCE_ROUTES
from gateway.api.query import FormatSent, FormatWanted, Nothing, Page, ViewWanted
from gateway.api.route import BY_TYPE, Answer, Described, FhirView, Html, Link, Operation, PlanDocument, PlanView, Route
from gateway.choosing import ChoiceSet
from gateway.directory import Entry


async def show_openapi(call: Call) -> web.Response:
    """GET /v1/openapi.json."""
    return answer(openapi.described(ROUTES, call.gateway))


async def show_docs(call: Call) -> web.Response:
    """GET /v1/docs: the same for people."""
    return docs.page(openapi.described(ROUTES, call.gateway))


_TOKEN = Operation(
    id="giveToken",
    tag="tokens",
    summary="Get an access token",
    takes=public.TokenForm,
    answers=(
        Answer(200, "A token.", (public.Token,)),
        Answer(400, "The scope or the kind of grant is not given to this client.", (public.TokenRefused,)),
        Answer(401, "It is not shown who asks.", (public.TokenRefused,)),
    ),
    errors=("too-large", "unavailable"),
)

_ASYNCAPI = Operation(
    id="showAsyncApi",
    tag="descriptions",
    summary="The exchange over RabbitMQ, as AsyncAPI 3.0",
    answers=(Answer(200, "The description.", (Described,)),),
)

_OPENAPI = Operation(
    id="showOpenApi",
    tag="descriptions",
    summary="This API, as OpenAPI 3.1",
    answers=(Answer(200, "The description.", (Described,)),),
)

_DOCS = Operation(
    id="showDocs",
    tag="descriptions",
    summary="This API, for people",
    answers=(Answer(200, "A page.", (Html,)),),
)

_FORMATS = Operation(
    id="listFormats",
    tag="plans",
    summary="The formats that can be sent and read",
    answers=(Answer(200, "Every format.", (plans.FormatsOffered,)),),
)

_SENT = (
    Link("showPlan", (("id", "$response.body#/planId"),)),
    Link("getChoices", (("id", "$response.body#/residents/0/id"),)),
    Link("addChoice", (("id", "$response.body#/residents/0/id"),)),
    Link("putChoices", (("id", "$response.body#/residents/0/id"),)),
    Link("showDelivery", (("id", "$response.body#/deliveries/0"),)),
)

_SEND_PLAN = Operation(
    id="sendPlan",
    tag="plans",
    summary="Send a plan: it is kept whole, with its deliveries planned, or refused whole",
    takes=PlanDocument,
    headers=("Idempotency-Key",),
    answers=(
        Answer(201, "The plan is new.", (plans.PlanReceived,), ("Location",), _SENT),
        Answer(
            200, "The plan was here: it is changed, or still the same.", (plans.PlanReceived,), ("Location",), _SENT
        ),
    ),
    errors=("media-type", "format", "key-reused", "busy", "conflict", "stale", "too-busy"),
)

_SHOW_PLAN = Operation(
    id="showPlan",
    tag="plans",
    summary="What the caller may see of a plan",
    headers=("If-None-Match",),
    answers=(
        Answer(200, "The view; its ETag counts the changes of this view only.", (PlanView,), ("ETag",)),
        Answer(304, "Nothing changed since the ETag in If-None-Match.", (), ("ETag",)),
    ),
    errors=("not-acceptable", "busy"),
)

_FIND_RESIDENT = Operation(
    id="findResident",
    tag="choices",
    summary="The id of a resident by BSN, for an organisation that has a plan with them",
    takes=residents.Question,
    answers=(
        Answer(
            200,
            "The id.",
            (residents.ResidentFound,),
            (),
            (Link("getChoices", (("id", "$response.body#/id"),)),),
        ),
    ),
    errors=("not-found",),
)

_GET_CHOICES = Operation(
    id="getChoices",
    tag="choices",
    summary="A resident's choices",
    answers=(Answer(200, "The choices; the ETag is for If-Match.", (ChoiceSet,), ("ETag",)),),
)

_PUT_CHOICES = Operation(
    id="putChoices",
    tag="choices",
    summary="Make these a resident's choices: one that is left out is withdrawn",
    takes=residents.Choices,
    headers=("If-Match",),
    answers=(Answer(200, "The choices as they are now.", (ChoiceSet,), ("ETag",)),),
    errors=("precondition", "stale", "busy"),
)

_ADD_CHOICE = Operation(
    id="addChoice",
    tag="choices",
    summary="Add one choice",
    takes=Choice,
    answers=(
        Answer(
            201,
            "The choice as it was kept.",
            (Choice,),
            ("ETag", "Location"),
            (
                Link(
                    "withdrawChoice",
                    (
                        ("id", "$request.path.id"),
                        ("choiceId", "$response.body#/id"),
                    ),
                ),
            ),
        ),
    ),
    errors=("busy",),
)

_WITHDRAW_CHOICE = Operation(
    id="withdrawChoice",
    tag="choices",
    summary="Withdraw one choice; it takes effect before the answer",
    answers=(Answer(204, "It is withdrawn.", (), ("ETag",)),),
    errors=("busy",),
)

_SHOW_VIEW = Operation(
    id="showView",
    tag="choices",
    summary="What an organisation gets, and per part why or why not; as FHIR the bytes that it would get",
    answers=(Answer(200, "The view: `Accept` says in which form.", (residents.View, FhirView), ("ETag?",)),),
    errors=("busy",),
)

_LIST_DELIVERIES = Operation(
    id="listDeliveries",
    tag="deliveries",
    summary="What is on its way and what left, without content: of its plans for a team, its own for a recipient",
    answers=(
        Answer(
            200,
            "A page.",
            (deliveries.Deliveries,),
            (),
            (Link("showDelivery", (("id", "$response.body#/items/0/id"),)),),
        ),
    ),
)

_SHOW_DELIVERY = Operation(
    id="showDelivery",
    tag="deliveries",
    summary="One delivery, without content",
    answers=(Answer(200, "The delivery.", (deliveries.DeliveryItem,)),),
)

_PULL_DOCUMENT = Operation(
    id="pullDocument",
    tag="deliveries",
    summary="Pull what was notified over RabbitMQ; what may be seen is decided now",
    answers=(Answer(200, "The view.", (PlanView,), ("Planbrug-Delivery", "Planbrug-Sequence", "Planbrug-Sha256")),),
    errors=("state", "busy"),
)

_CONFIRM_DOCUMENT = Operation(
    id="confirmDocument",
    tag="deliveries",
    summary="Say which bytes were pulled: the receipt of the recipient",
    takes=pulls.Receipt,
    answers=(Answer(200, "The delivery, acknowledged.", (deliveries.DeliveryItem,)),),
    errors=("state",),
)

_RETRY_DELIVERY = Operation(
    id="retryDelivery",
    tag="deliveries",
    summary="Try a parked or waiting delivery now",
    answers=(Answer(200, "The delivery, planned.", (deliveries.DeliveryItem,)),),
    errors=("state",),
)

_STOP_DELIVERY = Operation(
    id="stopDelivery",
    tag="deliveries",
    summary="Park a delivery that has not arrived, also while its receiver hangs",
    answers=(Answer(200, "The delivery, parked.", (deliveries.DeliveryItem,)),),
    errors=("state",),
)

_LIST_RECEIPTS = Operation(
    id="listReceipts",
    tag="receipts",
    summary="What left or was read, on which ground, and what was refused",
    answers=(Answer(200, "A page.", (deliveries.Receipts,)),),
)

_PUT_ORGANISATION = Operation(
    id="putOrganisation",
    tag="organisations",
    summary="Add or change an organisation of the directory, its clients and its endpoints",
    takes=Entry,
    answers=(
        Answer(201, "It is new.", (Entry,)),
        Answer(200, "It was here, and is as you sent it.", (Entry,)),
    ),
)

ROUTES: tuple[Route, ...] = (
    Route("POST", "/oauth/token", None, public.give_token, None, _TOKEN),
    Route("GET", "/.well-known/jwks.json", None, public.show_keys),
    Route("GET", "/fhir/.well-known/smart-configuration", None, public.show_smart_configuration),
    Route("GET", "/fhir/metadata", None, capabilities.show_capabilities),
    Route("POST", "/fhir", BY_TYPE, batch.receive_bundle, Nothing),
    Route("POST", "/fhir/", BY_TYPE, batch.receive_bundle, Nothing),
    *RESOURCE_ROUTES,
    Route("GET", "/health/live", None, public.is_live),
    Route("GET", "/health/ready", None, public.is_ready),
    Route("GET", "/v1/asyncapi.json", None, asyncapi.show_asyncapi, Nothing, _ASYNCAPI),
    Route("GET", "/v1/openapi.json", None, show_openapi, Nothing, _OPENAPI),
    Route("GET", "/v1/docs", None, show_docs, Nothing, _DOCS),
    Route("GET", "/v1/formats", "plans:read", plans.list_formats, Nothing, _FORMATS),
    Route("POST", "/v1/plans", "plans:write", plans.receive_plan, FormatSent, _SEND_PLAN),
    Route("GET", "/v1/plans/{id}", "plans:read", plans.read_plan, FormatWanted, _SHOW_PLAN),
    Route("POST", "/v1/resident-queries", "choices:read", residents.find_resident, Nothing, _FIND_RESIDENT),
    Route("GET", "/v1/residents/{id}/choices", "choices:read", residents.get_choices, Nothing, _GET_CHOICES),
    Route("PUT", "/v1/residents/{id}/choices", "choices:write", residents.put_choices, Nothing, _PUT_CHOICES),
    Route("POST", "/v1/residents/{id}/choices", "choices:write", residents.add_choice, Nothing, _ADD_CHOICE),
    Route(
        "DELETE",
        "/v1/residents/{id}/choices/{choiceId}",
        "choices:write",
        residents.withdraw_choice,
        Nothing,
        _WITHDRAW_CHOICE,
    ),
    Route(
        "GET",
        "/v1/residents/{id}/views/{organisationId}",
        "choices:read",
        residents.show_view,
        ViewWanted,
        _SHOW_VIEW,
    ),
    Route(
        "GET",
        "/v1/deliveries",
        "deliveries:read",
        deliveries.list_deliveries,
        deliveries.DeliveryPage,
        _LIST_DELIVERIES,
    ),
    Route("GET", "/v1/deliveries/{id}", "deliveries:read", deliveries.show_delivery, Nothing, _SHOW_DELIVERY),
    Route("GET", "/v1/deliveries/{id}/document", "deliveries:read", pulls.pull_document, Nothing, _PULL_DOCUMENT),
    Route(
        "POST", "/v1/deliveries/{id}/receipts", "deliveries:read", pulls.confirm_document, Nothing, _CONFIRM_DOCUMENT
    ),
    Route(
        "POST", "/v1/deliveries/{id}/retries", "deliveries:write", deliveries.retry_delivery, Nothing, _RETRY_DELIVERY
    ),
    Route("POST", "/v1/deliveries/{id}/stops", "deliveries:write", deliveries.stop_delivery, Nothing, _STOP_DELIVERY),
    Route("GET", "/v1/receipts", "receipts:read", deliveries.list_receipts, Page, _LIST_RECEIPTS),
    Route(
        "PUT",
        "/v1/organisations/{id}",
        "organisations:write",
        organisations.put_organisation,
        Nothing,
        _PUT_ORGANISATION,
    ),
)
