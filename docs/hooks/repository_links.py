"""MkDocs hook: links that leave docs/ name a file of the repository, which the site has not.

In the repository they lead there. On the site the text stays, followed by the file's path; a
path that does not exist, or a heading that a Markdown file does not have, is a warning, and an
error under `mkdocs build --strict`.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from pymdownx.slugs import slugify

log = logging.getLogger("mkdocs.hooks.repository_links")
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#([^)\s]+))?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Replace each link out of docs/ by its text and the path from the root."""
    root = Path(config.docs_dir).parent

    def replaced(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = posixpath.normpath(posixpath.join("docs", page.file.src_uri, "..", target))
        if path.startswith("docs/"):
            return link[0]  # to another page: MkDocs checks it
        if not (root / path).exists() or (anchor and anchor not in _anchors(root / path)):
            log.warning("'%s' links to '%s', which does not exist", page.file.src_uri, link[0])
        return text if text.strip("`") in path else f"{text} (`{path}`)"

    return LINK.sub(replaced, markdown)


def _anchors(file: Path) -> set[str]:
    slug = slugify(case="lower")
    return {slug(title, "-") for title in re.findall(r"(?m)^#+ (.+)$", file.read_text())}
