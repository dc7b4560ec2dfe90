"""The HTTP application: the one way in which a request is judged, answered and logged."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.api import fhir
from gateway.api.call import RATE, VERSION_HEADER, Call, certificate_of, spend
from gateway.api.problem import PROBLEM_JSON, problem_of
from gateway.api.query import read_query
from gateway.api.route import BY_TYPE, Route
from gateway.api.routes import ROUTES
from gateway.callers import Caller
from gateway.correlation import CORRELATION_HEADER, REQUEST_HEADER, TRACE_HEADER, Correlation, correlated
from gateway.errors import Refusal, refusal
from gateway.store.deliveries import count_by_state
from gateway.store.engine import StoreError
from gateway.wiring import Gateway

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
        caller = None if route.scope is None else await _admitted(gateway, route.scope, request)
        asked = None if route.query is None else read_query(request.query.items(), route.query)
        return await route.handler(Call(gateway=gateway, http=request, route=route, asked=asked, caller=caller))

    return handle


async def _admitted(gateway: Gateway, scope: str, request: web.Request) -> Caller:
    """Return who calls. Raises Refusal when the token is none, or lacks the scope."""
    certificate = certificate_of(request, gateway.settings)
    caller = await gateway.gatekeeper.caller(request.headers.get("Authorization", ""), certificate)
    request[_CLIENT] = caller.client.client_id
    spend(request, gateway.rates, caller.client.client_id)
    if scope == BY_TYPE:
        caller.require_some_type(BY_TYPE)
    else:
        caller.require(scope)
    return caller


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
        return fhir.outcome_of(error, request.match_info.get("type", "Bundle"))
    problem = problem_of(error, request_id)
    headers = {"Content-Type": PROBLEM_JSON, **VERSION_HEADER, **error.headers}
    return web.Response(body=msgspec.json.encode(problem), status=problem.status, headers=headers)
