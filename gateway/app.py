"""The HTTP application: the one table of routes, and the one way in which a request is judged, answered and logged."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware
from msgspec import Struct

from gateway.api import asyncapi, deliveries, fhir, organisations, plans, public, pulls, residents
from gateway.api.call import RATE, VERSION_HEADER, Call, certificate_of, spend
from gateway.correlation import CORRELATION_HEADER, REQUEST_HEADER, TRACE_HEADER, Correlation, correlated
from gateway.errors import ERRORS, Refusal, refusal
from gateway.store.deliveries import count_by_state
from gateway.store.engine import StoreError
from gateway.wiring import Gateway
from mappings.errors import Finding
from mappings.outcome import expression_of, issue, outcome

Handler = Callable[[Call], Awaitable[web.Response]]


class Route(Struct, frozen=True):
    """One thing that can be asked; `scope` is None where anybody may, BY_TYPE where the handler asks one per resource type."""

    method: str
    path: str
    scope: str | None
    handler: Handler


BY_TYPE = "system/TYPE.cu"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/oauth/token", None, public.give_token),
    Route("GET", "/.well-known/jwks.json", None, public.show_keys),
    Route("GET", "/fhir/.well-known/smart-configuration", None, public.show_smart_configuration),
    Route("GET", "/fhir/metadata", None, fhir.show_capabilities),
    Route("POST", "/fhir", BY_TYPE, fhir.receive_transaction),
    Route("POST", "/fhir/", BY_TYPE, fhir.receive_transaction),
    Route("GET", "/health/live", None, public.is_live),
    Route("GET", "/health/ready", None, public.is_ready),
    Route("GET", "/v1/asyncapi.json", None, asyncapi.show_asyncapi),
    Route("GET", "/v1/formats", "plans:read", plans.list_formats),
    Route("POST", "/v1/plans", "plans:write", plans.receive_plan),
    Route("GET", "/v1/plans/{id}", "plans:read", plans.read_plan),
    Route("POST", "/v1/resident-queries", "choices:read", residents.find_resident),
    Route("GET", "/v1/residents/{id}/choices", "choices:read", residents.get_choices),
    Route("PUT", "/v1/residents/{id}/choices", "choices:write", residents.put_choices),
    Route("POST", "/v1/residents/{id}/choices", "choices:write", residents.add_choice),
    Route("DELETE", "/v1/residents/{id}/choices/{choiceId}", "choices:write", residents.withdraw_choice),
    Route("GET", "/v1/residents/{id}/views/{organisationId}", "choices:read", residents.show_view),
    Route("GET", "/v1/deliveries", "deliveries:read", deliveries.list_deliveries),
    Route("GET", "/v1/deliveries/{id}", "deliveries:read", deliveries.show_delivery),
    Route("GET", "/v1/deliveries/{id}/document", "deliveries:read", pulls.pull_document),
    Route("POST", "/v1/deliveries/{id}/receipts", "deliveries:read", pulls.confirm_document),
    Route("POST", "/v1/deliveries/{id}/retries", "deliveries:write", deliveries.retry_delivery),
    Route("POST", "/v1/deliveries/{id}/stops", "deliveries:write", deliveries.stop_delivery),
    Route("GET", "/v1/receipts", "receipts:read", deliveries.list_receipts),
    Route("PUT", "/v1/organisations/{id}", "organisations:write", organisations.put_organisation),
)

_CLIENT = web.RequestKey("client", str)

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def build_app(gateway: Gateway) -> web.Application:
    """Return the application that serves a gateway."""
    app = web.Application(client_max_size=gateway.settings.max_body_bytes, middlewares=[_judge(gateway)])
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _bound(gateway, route))
    return app


def build_metrics_app(gateway: Gateway) -> web.Application:
    """Return the application that Prometheus reads, on an address of its own."""

    async def show(_request: web.Request) -> web.Response:
        counted = await gateway.store.read(count_by_state)
        page = gateway.metrics.page(
            counted,
            backlog=gateway.pressure.backlog,
            broker_ready=gateway.broker.ready,
            partner_broker_ready=gateway.partners.ready,
        )
        return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/metrics", show)
    return app


def _bound(gateway: Gateway, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        if route.scope is None:
            return await route.handler(Call(gateway=gateway, http=request))
        certificate = certificate_of(request, gateway.settings)
        caller = await gateway.gatekeeper.caller(request.headers.get("Authorization", ""), certificate)
        request[_CLIENT] = caller.client.client_id
        spend(request, gateway.rates, caller.client.client_id)
        if route.scope == BY_TYPE:
            caller.require_some_type(BY_TYPE)
        else:
            caller.require(route.scope)
        return await route.handler(Call(gateway=gateway, http=request, caller=caller))

    return handle


def _judge(gateway: Gateway) -> Middleware:
    """Return the middleware that turns every error into its row of the table, and writes one line per request."""

    @web.middleware
    async def judge(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        started = gateway.clock.ticks()
        ids = correlated(_once(request), gateway.clock.new_id(), gateway.clock.new_hex)
        response, code = await _answered(gateway, request, handler, ids)
        response.headers.update({name: value for name, value in _HEADERS.items() if name not in response.headers})
        response.headers.update(ids.headers)
        if rate := request.get(RATE):
            response.headers.update(rate.headers)
        if request.path.startswith("/v1"):
            response.headers.update(VERSION_HEADER)
        route = getattr(request.match_info.route.resource, "canonical", "none")
        seconds = gateway.clock.ticks() - started
        gateway.metrics.request(request.method, route, response.status, seconds)
        gateway.log(
            "request_answered",
            request_id=ids.request_id,
            trace_id=ids.trace_id,
            span_id=ids.span_id,
            asked_id=ids.told(ids.echoed),
            correlation_id=ids.told(ids.correlation_id),
            method=request.method,
            route=route,
            status=response.status,
            client=request.get(_CLIENT),
            code=code,
            seconds=round(seconds, 6),
        )
        return response

    return judge


def _once(request: web.Request) -> dict[str, str]:
    """Return the headers that tell what a request is known by; one that comes twice tells nothing."""
    names = (REQUEST_HEADER, CORRELATION_HEADER, TRACE_HEADER)
    return {name: request.headers[name] for name in names if len(request.headers.getall(name, ())) == 1}


async def _answered(
    gateway: Gateway,
    request: web.Request,
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ids: Correlation,
) -> tuple[web.StreamResponse, str]:
    request_id = ids.request_id
    try:
        return await handle(request), "ok"
    except Refusal as error:
        return _told(request, error, request_id), error.code
    except web.HTTPRequestEntityTooLarge:
        limit = f"at most {gateway.settings.max_body_bytes} bytes"
        return _told(request, refusal("too-large", "", limit), request_id), "too-large"
    except web.HTTPException as error:
        code = {404: "not-found", 405: "method"}.get(error.status, "parameter")
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _told(request, Refusal(code, headers=allow), request_id), code
    except web.RequestPayloadError:
        return _told(request, Refusal("json"), request_id), "json"
    except StoreError:
        return _told(request, Refusal("unavailable", headers={"Retry-After": "5"}), request_id), "unavailable"
    except Exception as error:  # noqa: BLE001 - the top of a request: say which kind, never what it held
        route = getattr(request.match_info.route.resource, "canonical", "none")
        gateway.log(
            "request_failed", request_id=request_id, trace_id=ids.trace_id, route=route, error=type(error).__name__
        )
        return _told(request, Refusal("internal"), request_id), "internal"


def _told(request: web.Request, error: Refusal, request_id: str) -> web.Response:
    """Tell an error in the manner of its face: OperationOutcome under /fhir, problem details (RFC 9457) elsewhere."""
    if request.path.startswith("/fhir"):
        return _as_outcome(error)
    row = ERRORS[error.code]
    problem = {
        "type": f"https://planbrug.nl/problems/{error.code}",
        "title": row.title,
        "status": row.status,
        "detail": row.remedy,
        "instance": f"urn:uuid:{request_id}",
        "code": error.code,
        "errors": [
            {"pointer": finding.pointer, "code": finding.code, "remedy": finding.remedy} for finding in error.findings
        ],
    }
    headers = {"Content-Type": "application/problem+json", **VERSION_HEADER, **error.headers}
    return web.Response(body=msgspec.json.encode(problem), status=row.status, headers=headers)


def _as_outcome(error: Refusal) -> web.Response:
    """Return an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html)."""
    row = ERRORS[error.code]
    findings = error.findings or (Finding(pointer="", code=error.code, remedy=row.remedy),)
    issues = [
        issue("error", row.issue, f"{row.title}: {finding.remedy}", _expression(error, finding)) for finding in findings
    ]
    response = fhir.as_fhir(outcome(issues), row.status)
    response.headers.update(error.headers)
    return response


def _expression(error: Refusal, finding: Finding) -> str | None:
    """Return where it is: `http.` and the name for a parameter or a header (R4, OperationOutcome.issue), FHIRPath in a body."""
    if not finding.pointer:
        return None
    return f"http.{finding.pointer[1:]}" if error.code == "parameter" else expression_of(finding.pointer, "Bundle")
