"""Reads all files of a policy directory, in one consistent version."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidecar.policy.files import fingerprint
from sidecar.policy.files.problems import PolicyError, Problem

MAX_FILES = 1000
MAX_FILE_BYTES = 1_048_576

FIXTURES = "_test.yaml"
SIGNATURE = "policies.sig"
"""The signature of the set: see sidecar/policy/trust."""

MAX_READS = 5
"""Attempts to read a directory that changes meanwhile."""

_NO_MARK = "save as UTF-8 without a byte order mark"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Texts by file name, their SHA-256 digest, and their problems.

    The signature is not part of the digest; it is empty if there is no such file.
    """

    rules: dict[str, str]
    data: dict[str, str]
    digest: str
    problems: list[Problem]
    signature: str = ""


def read(directory: Path) -> PolicyFiles:
    """Read the rules (*.cel) and data (*.yaml) of a flat directory, in one version.

    Names that begin with a dot are ignored, as a Kubernetes ConfigMap needs; so are
    fixtures (*_test.yaml) and notes (*.md). Any other file is a problem, since its
    author may expect that it is read.

    Raises PolicyError if the directory cannot be read at all, or keeps changing.
    """
    for _ in range(MAX_READS):
        before, failure = fingerprint.stat_directory(directory), None
        try:
            files = _read(directory)
        except PolicyError as error:
            failure = error
        if before == fingerprint.stat_directory(directory):
            if failure is not None:
                raise failure
            return files
    raise PolicyError([Problem(str(directory), 0, 0, "keeps changing while it is read")])


def _read(directory: Path) -> PolicyFiles:
    entries = _entries(directory)
    problems: list[Problem] = []
    texts: dict[str, str] = {}
    for entry in entries[: MAX_FILES + 1]:
        problem = _misplaced(entry)
        if not problem and entry.suffix in (".cel", ".yaml") and not entry.name.endswith(FIXTURES):
            text, problem = read_text(entry)
            if not problem:
                texts[entry.name] = text
        problems += problem
    if len(entries) > MAX_FILES:
        problems.append(Problem(str(directory), 0, 0, f"has more than {MAX_FILES} files"))
    rules = {name: text for name, text in texts.items() if name.endswith(".cel")}
    if not rules and not problems:
        problems.append(
            Problem(str(directory), 0, 0, "has no .cel files, so every call would be denied")
        )
    data = {name: text for name, text in texts.items() if name.endswith(".yaml")}
    signature = ""
    for entry in entries:
        if entry.name == SIGNATURE:
            signature, problem = read_text(entry)
            problems += problem
    return PolicyFiles(rules, data, _digest(texts), problems, signature)


def fixture_files(directory: Path) -> list[Path]:
    """Return the fixtures of a policy directory. Raises PolicyError if it cannot be read."""
    return [entry for entry in _entries(directory) if entry.name.endswith(FIXTURES)][:MAX_FILES]


def _entries(directory: Path) -> list[Path]:
    """Return a directory's entries, without names that begin with a dot."""
    try:
        inside = fingerprint.folder(directory).iterdir()
        return sorted(p for p in inside if not p.name.startswith("."))
    except OSError as error:
        raise fingerprint.unreadable(directory, error) from None


def _misplaced(entry: Path) -> list[Problem]:
    """Return a problem for an entry that does not belong in a policy directory."""
    wrong, hint = "", ""
    try:
        if not entry.name.isprintable():
            wrong = "the name has characters that cannot be printed"
        elif entry.is_dir():
            wrong = "is a folder, which a policy directory must not have"
        elif entry.suffix not in (".cel", ".yaml", ".md") and entry.name != SIGNATURE:
            wrong = "is neither a rule nor data, so it would be ignored"
            hint = "rules end in .cel, data in .yaml, notes in .md"
    except (
        OSError
    ) as error:  # such as a link to a name that is too long, or into a folder without permission
        wrong = f"cannot be read: {error.strerror}"
    return [Problem(entry.name, 0, 0, wrong, hint=hint)] if wrong else []


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """Read a file of a policy directory; return its text, or its problems."""
    try:
        if not path.is_file():
            return "", [Problem(path.name, 0, 0, "is not a regular file")]
        if not path.resolve().is_relative_to(path.parent.resolve()):
            return "", [Problem(path.name, 0, 0, "is a link to a file outside the directory")]
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        return "", [Problem(path.name, 0, 0, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return "", [Problem(path.name, 0, 0, f"is not UTF-8 at byte {error.start}")]
    if len(content) > MAX_FILE_BYTES:
        return "", [Problem(path.name, 0, 0, f"is larger than {MAX_FILE_BYTES} bytes")]
    return text, list(_deceptive(path.name, text))


def _deceptive(file: str, text: str) -> Iterator[Problem]:
    """Yield the first character that makes a text look different to people and programs.

    Those are line ends other than a line feed, control characters, byte order marks and
    marks that change the writing direction.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
                hint = _NO_MARK if character == "\ufeff" and (number, column) == (1, 1) else ""
                message = f"has the invisible character U+{ord(character):04X}"
                yield Problem(file, number, column, message, hint=hint)
                return


def _digest(texts: dict[str, str]) -> str:
    """Hash names and texts, each with its length, so that the input is unambiguous."""
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
