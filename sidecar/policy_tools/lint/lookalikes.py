"""Lints of names that look like others (letters, case), or are also the name of a family."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from sidecar.policy.cel.operators import literal_of
from sidecar.policy.files import data
from sidecar.policy.files.problems import Problem
from sidecar.policy.files.yaml_file import Loc, YamlFile
from sidecar.policy_tools.lint.data import allow_lists
from sidecar.policy_tools.lint.rule_source import RuleSource

# The letters of other scripts that most fonts draw as a Latin one. Unicode's list of confusables
# has thousands; the packages that have it are untyped or were last released years ago.
_CYRILLIC = "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d"
_CYRILLIC_CAPITALS = "\u0432\u043a\u043c\u043d\u0442"
_GREEK = "\u03b1\u03bf\u03c1\u03bd\u03b9\u03ba\u03c5\u03c7\u03b2\u03b5\u03b7\u03bc\u03c4\u03b6"
_OTHERS = "\u0131\u0251\u0261\u04cf\u0585"
_LATIN = str.maketrans(
    _CYRILLIC + _CYRILLIC_CAPITALS + _GREEK + _OTHERS, "aeopcyxijshdqwbkmhtaopvikuxbehmtziaglo"
)


def skeleton(name: str) -> str:
    """Return a text that is equal for names that look alike.

    Compatible characters, such as full-width ones, are one; so are cases, and letters of
    other scripts that look like Latin ones.
    """
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LATIN)
    return unicodedata.normalize("NFKC", folded)


def lint(documents: list[YamlFile], entries: data.Data) -> Iterator[Iterator[Problem]]:
    """Yield one iterator of warnings for each kind of warning."""
    yield _names_that_look_alike(documents, entries)
    yield _names_of_other_families(documents, entries)


def _names_that_look_alike(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    for places in _names(entries):
        alike: dict[str, dict[str, Loc]] = defaultdict(dict)
        for name, loc in places:
            alike[skeleton(name)].setdefault(name, loc)
        for names in alike.values():
            first, *others = sorted(names, key=_strangeness)
            for name in others:
                message = f"'{name}' looks like '{first}', and is another name"
                hint = f"{_difference(name, first)}; rename one of them"
                yield from _at(documents, names[name], "same-looking-name", message, hint)


def lint_texts(source: RuleSource) -> Iterator[Problem]:
    """Warn of texts in a rule that mix Latin letters with some that look like them."""
    for inside in source.expressions:
        for tree in inside.tree.iter_subtrees():
            text = literal_of(tree) if tree.data == "literal" else None
            if isinstance(text, str) and _mixes_scripts(text):
                latin = "".join(each if each.isascii() else skeleton(each) for each in text)
                message = f"'{text}' looks like '{latin}', and is another text"
                hint = f"{_difference(text, latin)}; write it in one script"
                yield source.warn_in(inside, tree, "same-looking-name", message, hint)


def _mixes_scripts(text: str) -> bool:
    """Whether a text has Latin letters, and letters of other scripts that look like Latin ones."""
    folded = text.casefold()
    is_latin = any(each.isascii() and each.isalpha() for each in folded)
    return is_latin and any(ord(each) in _LATIN for each in folded)


def _strangeness(name: str) -> tuple[bool, bool, str]:
    return not name.isascii(), name != name.casefold(), name


def _names(entries: data.Data) -> Iterator[list[tuple[str, Loc]]]:
    """Yield the names that are looked up together, with their places."""
    models: list[tuple[str, Loc]] = []
    for model_id, model in entries.models.items():
        models.append((model_id, ("models", model_id)))
        models.append((model.family, ("models", model_id, "family")))
        for number, alias in enumerate(model.aliases):
            models.append((alias, ("models", model_id, "aliases", number)))
    models += ((name, loc) for loc, name in allow_lists(entries))
    yield models
    for kind in ("roles", "workspaces", "keys"):
        yield [(name, (kind, name)) for name in getattr(entries, kind)]
    for name, workspace in entries.workspaces.items():
        yield [(one, ("workspaces", name, "services", one)) for one in workspace.services]


def _difference(name: str, other: str) -> str:
    """Describe the first character that differs, which people may not see."""
    pairs = zip(f"{name}\0", f"{other}\0", strict=False)
    place, (one, two) = next(each for each in enumerate(pairs, start=1) if each[1][0] != each[1][1])
    return f"character {place} is {_character(one)}, not {_character(two)}"


def _character(character: str) -> str:
    if character == "\0":
        return "missing"
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def _names_of_other_families(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    """Warn of ids and aliases that are the family of other models: a list that has one has all."""
    families: dict[str, list[str]] = defaultdict(list)
    for model_id, model in entries.models.items():
        families[model.family].append(model_id)
    for model_id, model in entries.models.items():
        named: list[tuple[str, Loc]] = [(model_id, ("models", model_id))]
        named += [
            (alias, ("models", model_id, "aliases", number))
            for number, alias in enumerate(model.aliases)
        ]
        for name, loc in named:
            if name != model.family and name in families:
                first, *more = families[name]
                others = f"{first} and {len(more)} more" if more else first
                message = (
                    f"'{name}' is also the family of {others}: allow-lists that name it open all"
                )
                hint = "rename it, or give the model this family if it belongs there"
                yield from _at(documents, loc, "same-as-family", message, hint)


def _at(
    documents: list[YamlFile], loc: Loc, warning: str, message: str, hint: str
) -> Iterator[Problem]:
    for document in documents:
        if document.has(loc):
            yield document.problem(loc, message, hint).as_warning(warning)
