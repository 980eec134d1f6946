"""The page of `sidecar spend --html`: one file, safe with any names in it."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from support.operator_ledger import DAY, NOON, operator_ledger
from support.reservations import limit

from sidecar.domain.decisions import Meter
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import Dimension
from sidecar.domain.windows import Span, Window
from sidecar.reports.markup import tag
from sidecar.reports.page import page

HOSTILE = [
    "<script>document.title = 'pwned'</script>",
    "</title></style></svg><script>document.title = 'pwned'</script>",
    '"><img src=x onerror="document.title = \'pwned\'">',
    "' onmouseover='document.title = 1' x='",
    "<!-- &lt;b&gt; &#60;script&#62; ]]>",
    "javascript:document.title = 'pwned'",
    "a}*{display:none}",
]


class Inventory(HTMLParser):
    """All elements, attributes and text of a page, as a parser sees them."""

    def __init__(self, text: str) -> None:
        """Read the page."""
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(str(text))  # the methods of Markup would escape what they compare with

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def page_of(path: Path, name: str) -> str:
    """Return the page of a ledger in which everything has this name."""
    path.mkdir(exist_ok=True)
    with operator_ledger(path / "ledger.sqlite") as kept:
        month = limit(10**9, Meter.COST, Window.MONTH, scope=name, rule=name)
        fields = ("principal_id", "role", "workspace", "key_id", "model_id")
        who: dict[str, Any] = dict.fromkeys(fields, name)
        kept.spend(NOON - DAY, month, retirement=Retirement(name, NOON + DAY, name), **who)
        reports = kept.reports()
        by = [dimension for dimension in Dimension if dimension is not Dimension.DAY]
        report = reports.report(by, Span(NOON - 9 * DAY, NOON))
        stacks = reports.spend([Dimension.WORKSPACE], report.days)
        return page(report, Dimension.WORKSPACE, stacks, reports.curves)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_and_never_becomes_part_of_the_page(
    name: str, tmp_path: Path
) -> None:
    """The page has the elements that it has with a harmless name, and shows the name as text."""
    harmless, hostile = (
        Inventory(page_of(tmp_path / folder, text)) for folder, text in (("a", "ada"), ("b", name))
    )
    assert hostile.tags == harmless.tags
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert hostile.text.count(name) == harmless.text.count("ada") > 5


@pytest.mark.parametrize("name", HOSTILE)
def test_an_element_escapes_its_attributes_and_its_text(name: str) -> None:
    """Also text that is added to markup, and markup in an attribute."""
    found = Inventory(tag("p", name, Markup("<b>") + name, Markup("</b>%s") % name, class_=name))
    assert (found.tags, found.attributes) == (["p", "b"], [("class", name)])
    assert found.text == 3 * name
    quoted = Markup('"><b>')
    assert Inventory(tag("p", class_=quoted)).attributes == [("class", str(quoted))]


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """No script, no address, and a policy that forbids both."""
    found = Inventory(page_of(tmp_path, "ada"))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(found.tags)
    assert not {"src", "href", "style", "xlink:href"} & {key for key, _ in found.attributes}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in found.attributes
