"""HTML and SVG elements: text is escaped unless it is Markup already."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; the values of its attributes are always escaped.

    >>> print(tag("td", "a < b", class_="amount", stroke_width=2))
    <td class="amount" stroke-width="2">a &lt; b</td>
    """
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    whole = f"<{name}{attribute_text}>{Markup().join(children)}</{name}>"
    return Markup(whole)  # noqa: S704 - each part is escaped, names are this program's own


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int
) -> Markup:
    """Return a table in a scrollable box.

    The first column is its row's header. All columns after the first `texts` are amounts.
    """
    kinds = ["text" if number < texts else "amount" for number in range(len(headings))]
    head = (
        tag("th", *pair[:1], scope="col", class_=pair[1])
        for pair in zip(headings, kinds, strict=True)
    )
    body = (
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=kinds[0]),
            *(tag("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    )
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
    )
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)
