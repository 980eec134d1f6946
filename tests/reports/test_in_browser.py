"""The page as a real browser shows it: harmless, readable, in both themes, on a phone."""

import html
import itertools
from pathlib import Path

import pytest
from reports.test_page import HOSTILE
from support.browser import SCHEMES, dom_of, measure
from support.operator_ledger import DAY, HOUR, MINUTE, NOON, operator_ledger
from support.reservations import limit

from sidecar.domain.decisions import Meter
from sidecar.domain.spend_report import Dimension
from sidecar.domain.windows import Span, Window
from sidecar.reports.page import page

USD = 10**9
LONG = "w" * 256

# Elements whose text is fainter than 4.5 to 1 on what is behind them (WCAG AA).
FAINT = """
const parts = color => color.match(/[\\d.]+/g).map(Number);
const light = color => {
  const [r, g, b] = parts(color).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = e => {
  for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (parts(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
return [...doc.querySelectorAll("h1,h2,h3,p,li,th,td,caption,summary,text,strong")].filter(e => {
  const style = getComputedStyle(e), svg = e.tagName === "text";
  const [a, b] = [light(svg ? style.fill : style.color), light(behind(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05) < 4.5;
}).map(e => e.tagName + ": " + e.textContent);
"""

# Labels of plots that are cut off, and what makes the page wider than its window.
TOO_WIDE = """
const cut = [...doc.querySelectorAll("main svg text")].filter(e => {
  const box = e.getBBox(), view = e.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.y < 0 || box.x + box.width > view.width
    || box.y + box.height > view.height;
}).map(e => e.textContent);
const wide = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
return {cut, wide, plots: doc.querySelectorAll(".plot svg").length};
"""

# Where the lines of the first plot end, in its own coordinates.
LINES = """
const end = kind => {
  const path = doc.querySelector(".plot path." + kind);
  const {x, y} = path.getPointAtLength(path.getTotalLength());
  return [Math.round(x), Math.round(y)];
};
return {spent: end("spent"), pace: end("pace"), ceiling: end("ceiling"),
  mark: doc.querySelector(".plot text.exhausted").textContent};
"""


@pytest.fixture
def shown(tmp_path: Path) -> str:
    """The page of a ledger with budgets small and large, hot and cold, and long names."""
    with operator_ledger(tmp_path / "ledger.sqlite") as kept:
        names = [*HOSTILE, LONG, "lab"]
        times = (NOON - 9 * DAY, NOON - HOUR, NOON - MINUTE)
        for at_us, (number, name) in itertools.product(times, enumerate(names)):
            limits = [
                limit(900_000_000 * USD, Meter.COST, Window.MONTH, name, "month-large"),
                limit(20_000_000, Meter.COST, Window.MONTH, name, "month-small"),
                limit(500_000_000_000, Meter.TOKENS, Window.DAY, name, "day"),
                limit(2, Meter.REQUESTS, Window.HOUR, name, "hour"),
            ]
            kept.spend(at_us, *limits, tokens=2000 + 500 * number, workspace=name)
        reports = kept.reports(NOON - 1)
        report = reports.report([Dimension.WORKSPACE], Span(NOON - 20 * DAY, NOON))
        return page(report, Dimension.WORKSPACE, report.rows, reports.curves)


def test_no_name_is_executed_in_a_browser(shown: str) -> None:
    """Not even without the page's own policy against scripts."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert policy in shown
    dom = dom_of(shown.replace(policy, ""))
    assert "<title>Spend on Mistral</title>" in dom
    assert measure(shown, "return doc.scripts.length") == 0
    texts = measure(shown, "return doc.body.textContent")
    assert [name for name in HOSTILE if name not in texts] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_can_be_read_in_both_themes(shown: str, scheme: str) -> None:
    """All text has the contrast that WCAG AA requires; the themes differ."""
    assert measure(shown, FAINT, scheme=scheme) == []
    dark = "return getComputedStyle(doc.body).backgroundColor !== 'rgb(255, 255, 255)'"
    assert measure(shown, dark, scheme=scheme) == (scheme == "dark")


@pytest.mark.parametrize("width", [360, 390, 800, 1400])
def test_it_fits_a_phone_and_a_desk(shown: str, width: int) -> None:
    """Nothing is cut off, and only tables scroll sideways, in boxes of their own."""
    assert measure(shown, TOO_WIDE, width=width) == {"cut": [], "wide": 0, "plots": 25}


def test_the_lines_lead_where_the_numbers_say(tmp_path: Path) -> None:
    """Half of a day's 1000 tokens gone at noon, 300 of them in three hours: none left at 17:00."""
    with operator_ledger(tmp_path / "ledger.sqlite") as kept:
        day = limit(1000, Meter.TOKENS, Window.DAY)
        kept.spend(NOON - 6 * HOUR, day, tokens=200)
        kept.spend(NOON - HOUR, day, tokens=300)
        reports = kept.reports()
        report = reports.report([Dimension.MODEL], Span(NOON, NOON + 1))
        text = page(report, Dimension.MODEL, report.rows, reports.curves)
    left, right, top, bottom = 70, 408, 38, 206
    noon, five = (round(left + (right - left) * hour / 24) for hour in (12, 17))
    assert measure(text, LINES) == {
        "spent": [noon, (top + bottom) // 2],
        "pace": [five, top],
        "ceiling": [right, top],
        "mark": "≈ 2100-11-10 17:00",
    }


def test_what_is_drawn_is_described(shown: str) -> None:
    """Each plot has a title and a description; every table has headings and a caption."""
    wanting = """
    const plots = [...doc.querySelectorAll(".plot svg")].filter(svg => svg.getAttribute("role")
      !== "img" || !svg.getAttribute("aria-labelledby").split(" ").every(
        id => doc.querySelectorAll("#" + id).length === 1 && doc.getElementById(id).textContent));
    const tables = [...doc.querySelectorAll("table")].filter(table => !table.caption
      || table.querySelector("thead th:not([scope=col])") || !table.querySelector("thead th")
      || table.querySelectorAll("tbody tr").length
        !== table.querySelectorAll("tbody tr > th[scope=row]:first-child").length);
    return plots.length + tables.length;
    """
    assert measure(shown, wanting) == 0


def test_the_page_says_how_many_it_leaves_out(shown: str) -> None:
    """36 budgets are too many to draw."""
    assert html.unescape(shown).count("12 more plots: --format json has all.") == 1
