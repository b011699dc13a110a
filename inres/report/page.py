"""Pieces of a self-contained HTML page: text, tables, cards, figures."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

UNKNOWN = "\N{EN DASH}"
NO_BREAK = "\N{NO-BREAK SPACE}"
STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b1f24;--muted:#5b6470;--line:#dfe3e8;--accent:#0067a3;
--best:#e4f1fa;--warn:#fff4d6;--warn-ink:#6b4a00}
@media(prefers-color-scheme:dark){:root{--bg:#12161b;--card:#1b2128;--ink:#e8ebef;--muted:#a3adb8;
--line:#323a44;--accent:#6db9ea;--best:#173649;--warn:#3a2f10;--warn-ink:#f2d58a}}
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 64px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:1.3rem;margin:48px 0 10px;padding-top:8px;scroll-margin-top:8px}
h3{font-size:1.02rem;margin:26px 0 8px}
h1,h2,h3,p,nav a,summary,figcaption{overflow-wrap:anywhere}
p{margin:0 0 12px;max-width:72ch}
.sub,.note,figcaption{color:var(--muted)}
.note,figcaption{font-size:.9rem}
.lead{font-size:1.1rem;margin:14px 0 18px}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 6px;font-size:.94rem}
a{color:var(--accent)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:14px;
margin:20px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;
min-width:0;overflow-wrap:anywhere}
.card .label{font-size:.9rem;color:var(--muted)}
.card .value{font-size:2.05rem;font-weight:650;line-height:1.2;
font-variant-numeric:tabular-nums}
.card .context{font-size:.86rem;color:var(--muted);margin-top:4px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:12px;
margin:10px 0 14px;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
tr:last-child td{border-bottom:0}
th{font-weight:600;color:var(--muted);font-size:.86rem}
th:first-child,td:first-child,td.text,th.text{text-align:left}
td small{display:block;line-height:1.35;color:var(--muted);font-size:.8rem}
td:first-child small{white-space:normal;min-width:10rem}
td.best{background:var(--best);font-weight:650}
td.wrap{white-space:normal;overflow-wrap:anywhere;min-width:12rem}
figure{margin:14px 0 22px}
.paper{background:#fff;border:1px solid var(--line);border-radius:12px;padding:10px;
overflow-x:auto;-webkit-overflow-scrolling:touch}
.paper img{display:block;max-width:100%;height:auto;margin:0 auto}
figcaption{margin-top:8px;max-width:92ch}
.note{max-width:92ch}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 18px}
.warn{background:var(--warn);color:var(--warn-ink);border-radius:10px;padding:10px 14px;
max-width:none}
details{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:0 14px;
margin:10px 0}
summary{cursor:pointer;padding:11px 0;font-weight:600}
details .scroll{border-width:1px 0 0;border-radius:0;margin:0 -14px;max-height:480px;
overflow-y:auto}
details .scroll:last-child{border-radius:0 0 12px 12px}
footer{margin-top:56px;border-top:1px solid var(--line);padding-top:14px}
@media(max-width:640px){main{padding:18px 14px 48px}h1{font-size:1.4rem}h2{margin-top:38px}
.cards{grid-template-columns:repeat(2,minmax(0,1fr));gap:10px}.card{padding:11px 12px}
.card .value{font-size:1.6rem}.paper{padding:6px}
.paper img.wide{max-width:none;width:720px!important}
th,td{padding:6px 9px}}
@media print{body{background:#fff}.card,.scroll,figure{break-inside:avoid}}
"""


def text(value: object) -> str:
    """`value` as text, escaped for HTML."""
    return html.escape(str(value), quote=True)


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` decimal places, or a dash for None."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def between(ends: Sequence[float] | None, digits: int, unit: str = "") -> str:
    """An interval as `95 %: 0.71 to 0.79`; empty for None."""
    if ends is None:
        return ""
    low, high = (f"{end:.{digits}f}" for end in ends)
    found = f"{low} to {high}{unit}".replace(" ", NO_BREAK)
    return f"95{NO_BREAK}%: {found}"


def share(value: float | None) -> str:
    """`value` in percent, or a dash for None."""
    if value is None:
        return UNKNOWN
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"


def empty_pools(pool: Mapping[str, float] | None) -> str:
    """The share of queries with an empty pool as a sentence without its stop; empty if none is."""
    empty = (pool or {}).get("empty_share")
    return f"{share(empty)} of queries found nothing and count as 0" if empty else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table that scrolls in its box; cells are HTML, the first `left` columns are text."""

    def line(cells: Sequence[str], tag: str) -> str:
        parts = []
        for place, cell in enumerate(cells):
            kind = ' class="text"' if 0 < place < left else ""
            parts.append(cell if cell.startswith("<td") else f"<{tag}{kind}>{cell}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead>{line(head, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def details(title: str, content: str) -> str:
    """Content that a click on its title shows."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values; nested mappings have dotted names."""
    rows = [
        (f"<code>{text(name)}</code>", f'<td class="text wrap">{value(one)}</td>')
        for name, one in _flat(values)
    ]
    return table(("name", "value"), rows, left=2)


def value(one: object) -> str:
    """Any value, escaped for HTML; floats with six significant digits."""
    return text(f"{one:.6g}" if isinstance(one, float) else one)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def figure(stem: Path, caption: str, *, wide: bool = False) -> str:
    """The figure saved under `stem` with its caption; empty if there is none.

    The smaller of SVG and PNG is embedded. On a phone, a `wide` figure scrolls in its box.
    """
    found = [path for kind in ("svg", "png") if (path := Path(f"{stem}.{kind}")).is_file()]
    if not found:
        return ""
    path = min(found, key=lambda file: file.stat().st_size)
    mime = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
    source = f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    size = _points(found[0])
    look = f' style="width:{size * _PX_PER_POINT:.0f}px"' if size else ""
    return (
        f'<figure><div class="paper"><img{" class=wide" if wide else ""}{look} src="{source}" '
        f'alt="{text(caption)}"></div><figcaption>{text(caption)}</figcaption></figure>'
    )


_PX_PER_POINT = 96 / 72 * 1.1
"""Size of figures on screen, slightly larger than in print."""


def _points(path: Path) -> float | None:
    """Width in points of an SVG written by matplotlib; None for other files."""
    if path.suffix != ".svg":
        return None
    with open(path, encoding="utf-8") as file:
        found = re.search(r'<svg[^>]* width="([0-9.]+)pt"', file.read(4096))
    return float(found.group(1)) if found else None


def card(label: str, value: str, *context: str) -> str:
    """A number with what it must be compared with; empty lines are left out."""
    lines = "".join(f"<div>{text(line)}</div>" for line in context if line)
    return (
        f'<div class="card"><div class="label">{text(label)}</div>'
        f'<div class="value">{text(value)}</div><div class="context">{lines}</div></div>'
    )
