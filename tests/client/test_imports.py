"""An app that asks carries no server."""

from support.commands import sidecar


def test_asking_needs_neither_the_evaluators_nor_a_ledger() -> None:
    """Importing the client imports grpcio, protobuf and itself; in vain are the others looked for."""
    program = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in {"grpc", "google", "sidecar", "typing_extensions"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(name, name=root)
before = set(sys.modules)
sys.meta_path.insert(0, Nothing())
import mistral_spend
new = {name for name in set(sys.modules) - before}
print(sorted(n for n in new if n.startswith(("sqlite3", "celpy", "sidecar."))))
"""
    code, out, err = sidecar(program=program)
    assert (code, err) == (0, "")
    for name in ("sqlite3", "celpy", "sidecar.ledger", "sidecar.policy", "mistral_spend.mistral"):
        assert name not in out
    assert "mistral_spend.sidecar_client" in out
