"""Policy files that are broken while they are served."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
from support.configmap import ConfigMap, texts
from support.odd_texts import CONTROLS, UNUSUAL
from support.policies import deny, limit
from support.sidecar_process import RunningSidecar

from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError
from sidecar.v1 import admin_pb2, admin_pb2_grpc
from siege.attack import Fuzzer

GOOD_EVERY = 10
"""Every so many inputs a good set has to take effect."""
TIMEOUT_SECONDS = 60.0

PIECES = [
    *CONTROLS.values(), *UNUSUAL.values(), "", " ", "\t", "\r", "//", "// METADATA\n", "// effect: allow\n",
    "// mode: shadow\n", "// per: principal.id\n", "{", "}", "[", "]", "(", ")", "{role.nam}", "&a", "*a",
    "<<: *a", "!!python/object:os.system x", "!!binary x", "---\n", "? ", ": ", "- ", "|", ">", "'", '"',
    "true", "null", "unlimited", ".inf", "1e999", "0x10", "9" * 19, "-1", "x" * 300, "request", "spend",
    ".matches('(a+)+')", ".map(x, x)", "has(", "1 / 0", "||", "&&", "==", "in", "?", "1u", 'r"\\d"',
]  # fmt: skip
BOMBS = {
    "nested.cel": deny("!(" * 500 + "true" + ")" * 500),
    "long.cel": deny(" || ".join(["request.batch"] * 900)),
    "product.cel": deny("[1,2,3,4,5,6,7,8,9]" + ".all(x, [1,2,3,4,5,6,7,8,9]" * 9 + "== [1]" + ")" * 9),
    "deep.yaml": "roles: " + "[" * 5000,
    "aliases.yaml": "a: &a [x]\n" + "".join(f"k{n}: &k{n} [*a, *a]\n" for n in range(500)),
    "laughs.yaml": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12)),
    "itself.yaml": "roles: &a {tester: *a}\n",
    "large.yaml": "x" * 1_048_577,
    "long.yaml": "roles:\n" + "  - x\n" * 100_000,
    "none.txt": "is neither",
    "gone.cel": limit("unlimited", per="principal.gone"),
    "spend.cel": deny('spend["gone"].used > 1'),
    "zero.cel": "\x00\x01",
}  # fmt: skip
"""Files, each of which makes any set a bad one."""


class PolicyFiles(Fuzzer):
    """A bad set never takes effect, whatever is wrong with it, and a good one does."""

    name = "policy files"
    parameters = f"changed anywhere, or one of {len(BOMBS)} bombs; every {GOOD_EVERY}th set is good"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Serve a copy of the policies, which is replaced as the kubelet does."""
        super().__init__(folder, policies, random)
        self._good = texts(policies)
        self._volume = ConfigMap(folder / "volume", self._good)
        self._tried = folder / "tried"
        self._tried.mkdir()
        self._admin = f"unix:{folder / 'admin.sock'}"
        self.policies = self._volume.volume
        self.arguments = ("--reload-seconds", "0", "--admin-listen", self._admin)

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Replace the files, and reload them."""
        del sidecar  # it is reached by its admin socket
        with grpc.insecure_channel(self._admin) as channel:
            operator = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            served = self._digest(self._good)
            number = 0
            while True:
                number += 1
                good = number % GOOD_EVERY == 0
                files = self._variant(number) if good else self._bad()
                self._volume.update(files)
                status = operator.Reload(
                    admin_pb2.ReloadRequest(), timeout=TIMEOUT_SECONDS
                ).policies
                if good:
                    served = self._digest(files)
                assert bool(status.problems) != good, (files, status)
                assert status.digest == served, (files, status)
                yield

    def _variant(self, number: int) -> dict[str, str]:
        """Return a good set that decides as all others do."""
        comment = f"\n# {number}\n"
        return {**self._good, "roles.yaml": self._good["roles.yaml"] + comment}

    def _bad(self) -> dict[str, str]:
        """Return a set that our own loader refuses; some changes leave a set good."""
        while True:
            files = dict(self._good)
            if self.random.random() < 0.2:
                name = self.random.choice([*BOMBS])
                return {**files, name: BOMBS[name]}
            name = self.random.choice([*files])
            files[name] = self._changed(files[name])
            if not self._digest(files):
                return files

    def _changed(self, text: str) -> str:
        for _ in range(self.random.choice((1, 1, 2, 5))):
            start = self.random.randint(0, len(text))
            end = self.random.choice(
                (start, self.random.randint(start, min(len(text), start + 20)))
            )
            text = text[:start] + self.random.choice(PIECES) + text[end:]
        return text

    def _digest(self, files: dict[str, str]) -> str:
        """Return the digest of a set, or "" if it is refused."""
        for file in self._tried.iterdir():
            file.unlink()
        for name, text in files.items():
            (self._tried / name).write_text(text)
        try:
            return policy_set.load(self._tried).digest
        except PolicyError:
            return ""
