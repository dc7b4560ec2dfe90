"""Write what was measured: RESULTS.md with medians of the rounds and ratios, and a picture."""

from pathlib import Path
from typing import Any

import picture
from measures import Row, medians, paired

FIGURES = {
    "a": "plan in over HTTP → stored → delivery ids confirmed by RabbitMQ",
    "b": "plan in → four views decided, redacted, rendered, pushed over HTTP and receipted",
}
LOADS = {"one": "1 connection", "half": "half of saturation", "full": "saturation"}
NAIVE, LIMIT = "naive", "limit, bare client"

HEAD = (
    "| contestant | plans/s | × naive | of the limit | CPU ms per plan | RSS MB | p50 / p99 ms, 1 connection | half of saturation |",
    "|---|---:|---:|---:|---:|---:|---:|---:|",
)
GROWTH_HEAD = (
    "| contestant | plans there | choices per resident | plans/s | p50 / p99 ms, 1 connection | CPU ms per plan | RSS MB |",
    "|---|---:|---:|---:|---:|---:|---:|",
)

MEASURES = ("plans", "plans_per_second", "p50_ms", "p99_ms", "cpu_ms_per_plan", "rss_mb")


def write(found: dict[str, Any], folder: Path) -> None:
    """Write RESULTS.md and results.svg."""
    (folder / "RESULTS.md").write_text("\n".join(_page(found)) + "\n")
    (folder / "results.svg").write_text(picture.draw(_bars(found["trials"])))


def _page(found: dict[str, Any]) -> list[str]:
    asked, machine = found["asked"], found["machine"]
    page = [
        "# How fast it is",
        "",
        "Written by `make bench`; `README.md` says what is measured, and how the contestants differ.",
        "",
        f"- When: {found['began']}, medians of {asked['rounds']} interleaved round(s), {asked['seconds']:g} s per load.",
        *(f"- {name.capitalize()}: {value}" for name, value in machine.items()),
        "- Everything on one machine: contestant, broker, database, load generator, receivers.",
        "- Views, loss and order were checked for every contestant in every round; the run ends when a check fails.",
        "",
        "![plans per second at saturation](results.svg)",
        "",
    ]
    if asked["quick"]:
        page += ["**A quick run: it shows that everything works, and says little about speed.**", ""]
    page += _tables(found["trials"], "")
    if found["sizes"]:
        for size in dict.fromkeys(row["size"] for row in found["sizes"]):
            page += _tables([row for row in found["sizes"] if row["size"] == size], f", {size} plan")
    if found["growth"]:
        page += _growth(found["growth"])
    return page


def _tables(trials: list[Row], suffix: str) -> list[str]:
    page = []
    found = medians(trials, ("figure", "store", "load", "contestant"), MEASURES)
    for figure, what in FIGURES.items():
        for store in dict.fromkeys(row["store"] for row in trials):
            page += [f"## ({figure}) {what}, {store}{suffix}", "", *_table(found, trials, figure, store), ""]
    return page


def _table(found: dict[tuple[Any, ...], Row], trials: list[Row], figure: str, store: str) -> list[str]:
    lines = list(HEAD)
    for name in dict.fromkeys(row["contestant"] for row in trials):
        full, one, half = (found[figure, store, load, name] for load in ("full", "one", "half"))
        cells = [
            name,
            f"{full['plans_per_second']:,.0f}",
            _paired(trials, figure, store, name, NAIVE, "{:.1f}"),
            _paired(trials, figure, store, name, LIMIT, "{:.2f}"),
            f"{full['cpu_ms_per_plan']:.1f}",
            f"{full['rss_mb']:.0f}",
            _latency(one),
            _latency(half),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _latency(row: Row) -> str:
    """Return p50 and p99, or that they were not measured.

    The moment of planbrug's confirms is matched to plans in the order of their answers: right for a rate, and under several plans at
    once not for a single one, as a negative wait shows.
    """
    if row["figure"] == "a" and row["contestant"] == "planbrug" and row["load"] != "one":
        return "not measured"
    return f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}"


def _paired(trials: list[Row], figure: str, store: str, name: str, other: str, form: str) -> str:
    """Return the ratio to another contestant at saturation."""
    rates = {
        (row["round"], row["contestant"]): row["plans_per_second"]
        for row in trials
        if (row["figure"], row["store"], row["load"]) == (figure, store, "full")
    }
    ratio = paired(rates, name, other)
    return "" if ratio is None else form.format(ratio)


def _growth(rows: list[Row]) -> list[str]:
    lines = [
        "## How (b) grows",
        "",
        *GROWTH_HEAD,
    ]
    found = medians(rows, ("contestant", "plans_there", "choices", "load"), MEASURES)
    for name, there, choices in dict.fromkeys(key[:3] for key in found):
        full, one = found[name, there, choices, "full"], found[name, there, choices, "one"]
        lines.append(
            f"| {name} | {there:,} | {choices:,} | {full['plans_per_second']:,.0f} | {one['p50_ms']:.1f} / {one['p99_ms']:.1f} "
            f"| {full['cpu_ms_per_plan']:.1f} | {full['rss_mb']:.0f} |"
        )
    return [*lines, ""]


def _bars(trials: list[Row]) -> list[picture.Group]:
    full = (row for row in trials if row["load"] == "full")
    found = medians(full, ("figure", "store", "contestant"), MEASURES)
    groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for (figure, store, name), row in found.items():
        groups.setdefault((figure, store), []).append((name, row["plans_per_second"]))
    return [(f"({figure}) {FIGURES[figure]}, {store}", bars) for (figure, store), bars in sorted(groups.items())]
