"""Write what was measured of the FHIR servers: FHIR.md with medians of the rounds, and ratios within a round."""

from pathlib import Path
from typing import Any

from fhir_asks import INTERACTIONS
from measures import Row, medians, paired

MEASURES = ("answers", "per_second", "p50_ms", "p99_ms", "cpu_ms", "rss_mb")
OTHERS = ("fhirstarter", "sekmet-fhir")

HEAD = (
    "| server | plans | connections | answers/s | × fhirstarter | × sekmet-fhir | p50 ms | p99 ms | CPU ms each | RSS MB | wrong |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)
LOADED_HEAD = (
    "| server | asked for | brought in | as | seconds | plans/s | CPU ms per plan | then there | RSS MB |",
    "|---|---:|---:|---|---:|---:|---:|---:|---:|",
)


def write(found: dict[str, Any], folder: Path) -> None:
    """Write FHIR.md."""
    (folder / "FHIR.md").write_text("\n".join(_page(found)) + "\n")


def _page(found: dict[str, Any]) -> list[str]:
    asked = found["asked"]
    page = [
        "# How fast FHIR is",
        "",
        "Written by `make bench-fhir`; `README.md` says what is compared, and what each server does and does not do for its answer.",
        "",
        f"- When: {found['began']}, medians of {asked['rounds']} interleaved round(s), {asked['seconds']:g} s per load.",
        *(f"- {name.capitalize()}: {value}" for name, value in found["machine"].items()),
        f"- Versions: {', '.join(f'{name} {version}' for name, version in found['versions'].items())}.",
        "- Everything on one machine: server, database, client. CPU and memory are the server's own process, without PostgreSQL's.",
        "- An answer counts when status, ids and number of entries are right; what was wrong is counted beside it.",
        "",
    ]
    if asked["quick"]:
        page += ["**A quick run: it shows that everything works, and says little about speed.**", ""]
    page += ["## What each server does", "", *_offered(found["offered"]), ""]
    page += ["## Loading", "", *_loaded(found["loaded"]), ""]
    for interaction, what in INTERACTIONS.items():
        page += [f"## {interaction.capitalize()}", "", f"`{what}`", ""]
        for size in asked["sizes"]:
            page += _measured(
                [row for row in found["rows"] if (row["size"], row["interaction"]) == (size, interaction)]
            )
        page += _missing(found["offered"], interaction)
    return page


def _offered(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    last = {(row["contestant"], row["interaction"]): row for row in rows}
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for interaction in INTERACTIONS:
        cells = (_said(last[name, interaction]) for name in names)
        lines.append(f"| {interaction} | {' | '.join(cells)} |")
    return lines


def _said(row: Row) -> str:
    if not row["wrong"]:
        return "yes" if row["advertised"] else "yes, though its CapabilityStatement does not say so"
    advertised = "its CapabilityStatement says so" if row["advertised"] else "not in its CapabilityStatement"
    return f"**no**: {row['wrong']}; {advertised}"


def _loaded(rows: list[Row]) -> list[str]:
    return [
        *LOADED_HEAD,
        *(
            f"| {row['contestant']} | {row['size']:,} | {row['plans']:,} | {row['way_in']} | {row['seconds']:.0f} "
            f"| {row['plans'] / row['seconds']:.1f} | {row['cpu_ms_per_plan']:.1f} | {row['there']:,} | {row['rss_mb']:.0f} |"
            for row in rows
        ),
    ]


def _measured(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"Asked for {rows[0]['size']:,} plans:", "", *HEAD]
    there = {row["contestant"]: row["plans"] for row in reversed(rows)}
    for (connections, name), row in sorted(
        medians(rows, ("connections", "contestant"), MEASURES).items(), key=lambda each: each[0][0]
    ):
        rates = {
            (each["round"], each["contestant"]): each["per_second"]
            for each in rows
            if each["connections"] == connections
        }
        wrong = sum(
            sum(each["failures"].values())
            for each in rows
            if (each["connections"], each["contestant"]) == (connections, name)
        )
        ratios = (paired(rates, name, other) for other in OTHERS)
        cells = [
            name,
            f"{there[name]:,}",
            str(connections),
            f"{row['per_second']:,.0f}",
            *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['rss_mb']:.0f}",
            f"{wrong:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _missing(rows: list[Row], interaction: str) -> list[str]:
    lacking = {row["contestant"]: row for row in rows if row["interaction"] == interaction and row["wrong"]}
    return [
        line
        for name, row in lacking.items()
        for line in (f"Not measured: {name}, {_said(row).removeprefix('**no**: ')}.", "")
    ]
