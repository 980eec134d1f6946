"""The client loads no code of the server."""

from support.commands import sidecar


def test_the_client_loads_no_code_of_the_server() -> None:
    """The client imports grpcio, protobuf and its own modules, and no module of the server."""
    program = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in {"grpc", "google", "mistral_spend", "typing_extensions"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(name, name=root)
before = set(sys.modules)
sys.meta_path.insert(0, Nothing())
from mistral_spend import SidecarClient
print(sorted(set(sys.modules) - before))
"""
    code, out, err = sidecar(program=program)
    assert (code, err) == (0, "")
    for name in ("'sqlite3'", "'celpy'", "'sidecar'", "'mistral_spend.mistral'"):
        assert name not in out
    assert "'mistral_spend.sidecar_client'" in out
