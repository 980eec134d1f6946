"""The steps of docs/fleet.md, as a platform engineer pastes them."""

import re
import shlex
from pathlib import Path

from fleet.postgres_server import PostgresServer
from support.commands import sidecar

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
SET_UP = PAGE.partition("## Set it up")[2].partition("\n## ")[0]


def lines(beginning: str) -> list[str]:
    """Return the lines of the set-up that begin so."""
    return re.findall(rf"(?m)^ {{8}}({beginning}.*)$", SET_UP)


def test_the_documented_set_up_works(own_server: PostgresServer, tmp_path: Path) -> None:
    """Two roles, two files, and `init` and `status` as they stand there, in a new database."""
    own_server.execute(*lines("CREATE "))
    for command in lines("echo "):
        _, url, _, name = shlex.split(command)
        here = re.sub(r"@db\.example\.com/(\w+)\?.*", rf"@127.0.0.1:{own_server.port}/\1", url)
        assert here != url
        (tmp_path / name).write_text(here)
    for command in lines("sidecar fleet "):
        words = [re.sub(r"^\w+\.url$", rf"{tmp_path}/\g<0>", word) for word in shlex.split(command)]
        code, out, err = sidecar(*words[1:])
        assert (code, err) == (0, ""), command
    assert "0 live holders of 0" in out
