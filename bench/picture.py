"""Draw plans per second as bars, one group per figure and store, on a logarithmic scale; SVG by hand, without a library."""

from html import escape
from math import log10

Group = tuple[str, list[tuple[str, float]]]
"""A title, and what each contestant reached."""

WIDTH, LABELS, NUMBERS = 860, 210, 80
BAR, GAP, TITLE = 20, 6, 34
OURS, OTHERS = "#154273", "#9bb4cc"


def draw(groups: list[Group]) -> str:
    """Return the picture."""
    lines, top = [], 10
    for title, bars in groups:
        lines.append(f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>')
        top += TITLE
        longest = max(rate for _, rate in bars)
        for name, rate in bars:
            lines += _bar(top, name, rate, longest)
            top += BAR + GAP
        top += GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 30}" font-family="sans-serif" font-size="13" role="img">'
        "<title>Plans per second at saturation, logarithmic scale</title>"
        f'<rect width="{WIDTH}" height="{top + 30}" fill="#fff"/>'
    )
    foot = (
        f'<text x="10" y="{top + 18}" fill="#555">plans per second at saturation; the scale is logarithmic</text></svg>'
    )
    return "\n".join([head, *lines, foot]) + "\n"


def _bar(top: int, name: str, rate: float, longest: float) -> list[str]:
    room = WIDTH - LABELS - NUMBERS
    length = room * max(log10(max(rate, 1)), 0.02) / max(log10(max(longest, 10)), 1)
    fill = OURS if name == "planbrug" else OTHERS
    middle = top + BAR - 5
    return [
        f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LABELS}" y="{top}" width="{length:.0f}" height="{BAR}" fill="{fill}"/>',
        f'<text x="{LABELS + length + 6:.0f}" y="{middle}">{rate:,.0f}</text>',
    ]
