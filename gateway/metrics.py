"""Counters and gauges for Prometheus, without any personal label: routes, statuses, states and outcomes only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "planbrug_requests", "Answered requests.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "planbrug_request_seconds", "Time to answer.", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._deliveries = Gauge("planbrug_deliveries", "Deliveries by state.", ("state",), registry=self._registry)
        self._backlog = Gauge(
            "planbrug_backlog", "Deliveries that are due and not begun, as far as counted.", registry=self._registry
        )
        self._broker = Gauge("planbrug_broker_ready", "1 when the broker is connected.", registry=self._registry)

        self._partner_broker = Gauge(
            "planbrug_partner_broker_ready", "1 when the partners' broker is connected.", registry=self._registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def page(
        self, deliveries: dict[str, int], *, backlog: int, broker_ready: bool, partner_broker_ready: bool
    ) -> bytes:
        """Return the page that Prometheus reads."""
        self._deliveries.clear()
        for state, count in deliveries.items():
            self._deliveries.labels(state).set(count)
        self._backlog.set(backlog)
        self._broker.set(int(broker_ready))
        self._partner_broker.set(int(partner_broker_ready))
        return generate_latest(self._registry)
