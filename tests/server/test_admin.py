"""The admin service of a real sidecar, on a listener of its own."""

import json
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.policies import WORKSPACES, deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, error_info, stub, tester

from sidecar.v1 import admin_pb2, admin_pb2_grpc

Start = Callable[..., RunningSidecar]
SIGNED: dict[str, Any] = {"signed_by": "ada@example.com", "reason": "a test"}


class AdminSidecar:
    """A sidecar with an admin socket, and its client."""

    def __init__(self, start: Start, folder: Path, *args: str) -> None:
        """Start on small policies with one budget of tokens."""
        self.policies = minimal(folder / "p", daily=limit("1000", meter="tokens"))
        self.address = f"unix:{folder / 'admin.sock'}"
        self.sidecar = start(
            self.policies, "--admin-listen", self.address, "--reload-seconds", "0", *args
        )
        self.stub = admin_pb2_grpc.AdminServiceStub(  # type: ignore[no-untyped-call]
            grpc.insecure_channel(self.address)
        )

    def call(self, **changes: object) -> pb.AuthorizeResponse:
        """Authorize one call of 200 tokens."""
        request = chat(tester(), model="small-1", **changes)
        answer: pb.AuthorizeResponse = self.sidecar.stub.Authorize(request)
        return answer


@pytest.fixture
def admin_sidecar(start_sidecar: Start, tmp_path: Path) -> AdminSidecar:
    """A sidecar with an admin socket."""
    return AdminSidecar(start_sidecar, tmp_path)


def test_status_says_which_policies_are_served_and_what_is_open(
    admin_sidecar: AdminSidecar,
) -> None:
    """Digest, generation, and how many holds wait; nothing is stale."""
    digest = admin_sidecar.call().policy_digest
    found = admin_sidecar.stub.GetStatus(admin_pb2.GetStatusRequest())
    assert (found.policies.digest, found.policies.generation, found.policies.rules) == (
        digest,
        1,
        2,
    )
    assert (found.policies.HasField("stale_since"), list(found.policies.problems)) == (False, [])
    assert (found.ledger.open_holds, found.policies.engine) == (1, "cel-cpp")
    code, out, _ = command("status", "--admin", admin_sidecar.address)
    assert (code, f"serving generation 1 ({digest[:12]})" in out, "1 open hold" in out) == (0, True, True)  # fmt: skip


def test_reload_takes_a_good_set_now_and_says_what_is_wrong_with_a_bad_one(
    admin_sidecar: AdminSidecar,
) -> None:
    """Exit 0 and 1; the status stays stale, and says since when, until the files are good."""
    (admin_sidecar.policies / "more.cel").write_text(deny("false"))
    code, out, _ = command("reload", "--admin", admin_sidecar.address)
    assert (code, "serving generation 2" in out, "3 rules" in out) == (0, True, True)
    (admin_sidecar.policies / "more.cel").write_text("nothing")
    code, out, err = command("reload", "--admin", admin_sidecar.address)
    assert (code, "generation 2" in out, "stale since" in out) == (1, True, True)
    assert "more.cel:1:1: " in err
    code, out, _ = command("status", "--admin", admin_sidecar.address, "--format", "json")
    first = json.loads(out)["policies"]
    assert (code, first["generation"], bool(first["problems"])) == (1, "2", True)
    again = admin_sidecar.stub.Reload(admin_pb2.ReloadRequest()).policies
    assert again.stale_since.ToJsonString() == first["stale_since"]
    assert admin_sidecar.call().policy_generation == 2
    (admin_sidecar.policies / "more.cel").write_text(deny("false"))
    assert not admin_sidecar.stub.Reload(admin_pb2.ReloadRequest()).policies.HasField("stale_since")
    assert admin_sidecar.call().policy_generation == 2


def test_many_reloads_at_once_are_one_after_the_other(admin_sidecar: AdminSidecar) -> None:
    """Each answers with a set that was there; more than a few at a time are refused."""
    (admin_sidecar.policies / "more.cel").write_text(deny("false"))

    def reload(_: int) -> str:
        own = admin_pb2_grpc.AdminServiceStub(  # type: ignore[no-untyped-call]
            grpc.insecure_channel(admin_sidecar.address)
        )
        try:
            answer = own.Reload(admin_pb2.ReloadRequest(), timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(answer.policies.generation)

    with ThreadPoolExecutor(60) as pool:
        ends = set(pool.map(reload, range(60)))
    assert "2" in ends
    assert ends <= {"2", "RESOURCE_EXHAUSTED"}


def test_an_adjustment_while_serving_counts_at_once(admin_sidecar: AdminSidecar) -> None:
    """L1 L2: the next call is denied, then has room; the ledger has who signed it, and why."""
    assert admin_sidecar.call().effect == pb.EFFECT_ALLOW
    adjust = ("ledger", "adjust", "--admin", admin_sidecar.address, "--rule", "daily", "--scope", "lab",
              "--signed-by", "ada@example.com", "--reason", "a test")  # fmt: skip
    code, out, err = command(*adjust, "--amount=700")
    assert (code, out) == (0, "daily of lab: 700 tokens spent, 100 tokens left\n"), err
    assert admin_sidecar.call().effect == pb.EFFECT_DENY
    assert command(*adjust, "--amount=-700")[0] == 0
    assert admin_sidecar.call().effect == pb.EFFECT_ALLOW
    ledger = admin_sidecar.sidecar.ledger
    _, out, _ = command("ledger", "export", "adjustments", "--format", "json", "--ledger", ledger)
    assert [(row["amount"], row["signed_by"]) for row in json.loads(out)] == [
        (700, "ada@example.com"), (-700, "ada@example.com"),
    ]  # fmt: skip
    assert command("ledger", "verify", "--ledger", ledger)[0] == 0


def test_a_scope_that_only_the_data_files_know_can_be_adjusted(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Before its first call; a mistyped one is refused, unless it is said to be new."""
    running = AdminSidecar(start_sidecar, tmp_path)
    running.call()
    more = WORKSPACES + WORKSPACES.removeprefix("\nworkspaces:\n").replace("lab", "attic")
    (running.policies / "workspaces.yaml").write_text(more)
    request = {"rule": "daily", "amount": "-5", **SIGNED}

    def adjusted(scope: str, **changes: Any) -> str:
        try:
            running.stub.Adjust(admin_pb2.AdjustRequest(scope=scope, **request, **changes))
        except grpc.RpcError as error:
            return f"{error_info(error).reason}: {error.details()}"
        return ""

    refused = "NOT_ADJUSTABLE: daily has no budget for labb, which --new-budget (new_budget) would"
    assert adjusted("labb") == f"{refused} make; did you mean 'lab'?"
    assert "known: lab" in adjusted("attic")
    assert not running.stub.Reload(admin_pb2.ReloadRequest()).policies.problems
    assert "did you mean 'attic'?" in adjusted("atic")
    assert adjusted("attic") == ""
    assert adjusted("labb", new_budget=True) == ""


def test_a_limit_that_is_not_served_any_more_is_not_adjusted(admin_sidecar: AdminSidecar) -> None:
    """The ledger knows it, but no call counts on it: an adjustment would give no room."""
    admin_sidecar.call()
    (admin_sidecar.policies / "daily.cel").rename(admin_sidecar.policies / "day.cel")
    admin_sidecar.stub.Reload(admin_pb2.ReloadRequest())
    request = admin_pb2.AdjustRequest(rule="daily", scope="lab", amount="5", **SIGNED)
    with pytest.raises(grpc.RpcError) as caught:
        admin_sidecar.stub.Adjust(request)
    expected = "the policies have no limit named daily; did you mean 'day'?"
    assert (error_info(caught.value).reason, caught.value.details()) == ("NOT_ADJUSTABLE", expected)


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"rule": "gone"}, "FAILED_PRECONDITION", "NOT_ADJUSTABLE"),
        ({"rule": ""}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"amount": "1.5"}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"amount": "1e999999999"}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"amount": "NaN"}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"amount": "-1e18"}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"amount": "9" * 300}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"signed_by": " "}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"reason": "a\nb"}, "INVALID_ARGUMENT", "INVALID_FIELD"),
    ],
)
def test_an_invalid_adjustment_is_refused(
    changes: dict[str, Any], code: str, reason: str, admin_sidecar: AdminSidecar
) -> None:
    """By the name of its field, with nothing written."""
    admin_sidecar.call()
    request = {"rule": "daily", "scope": "lab", "amount": "5", **SIGNED, **changes}
    with pytest.raises(grpc.RpcError) as caught:
        admin_sidecar.stub.Adjust(admin_pb2.AdjustRequest(**request))
    assert (caught.value.code().name, error_info(caught.value).reason) == (code, reason)
    assert admin_sidecar.sidecar.stub.GetBudgets(
        pb.GetBudgetsRequest(principal=tester())
    ).budgets[0].spent == 0  # fmt: skip


def test_adjustments_beyond_what_an_integer_holds_change_nothing(
    admin_sidecar: AdminSidecar,
) -> None:
    """L7: the one that would pass int64 fails alone, and calls go on."""
    admin_sidecar.call()
    request = admin_pb2.AdjustRequest(rule="daily", scope="lab", amount="-" + "9" * 18, **SIGNED)
    for _ in range(9):
        admin_sidecar.stub.Adjust(request)
    with pytest.raises(grpc.RpcError) as caught:
        admin_sidecar.stub.Adjust(request)
    assert error_info(caught.value).reason == "LEDGER_UNAVAILABLE"
    assert admin_sidecar.call().hold_id
    assert command("ledger", "verify", "--ledger", admin_sidecar.sidecar.ledger)[0] == 0


def test_open_holds_come_in_pages_in_the_order_they_expire(admin_sidecar: AdminSidecar) -> None:
    """Each hold once, also while others close; the command line reads all pages."""
    ids = [admin_sidecar.call(hold_ttl_seconds=600 - n).hold_id for n in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = admin_sidecar.stub.ListHolds(
            admin_pb2.ListHoldsRequest(page_size=2, page_token=token)
        )
        seen += [hold.hold_id for hold in page.holds]
        token = page.next_page_token
        if not token:
            break
        admin_sidecar.sidecar.stub.Release(pb.ReleaseRequest(hold_id=seen[-1]))
    assert seen == ids[::-1]
    code, out, _ = command("ledger", "holds", "--admin", admin_sidecar.address, "--format", "json")
    left = [hold for hold in seen if hold not in (seen[1], seen[3])]
    assert (code, [hold["hold_id"] for hold in json.loads(out)]) == (0, left)
    assert "open holds" in command("ledger", "holds", "--admin", admin_sidecar.address)[1]
    assert command("ledger", "holds")[0] == 2


@pytest.mark.parametrize(
    "page", [{"page_size": -1}, {"page_size": 1001}, {"page_token": "x"}, {"page_token": "1." + "9" * 30}]
)  # fmt: skip
def test_an_invalid_page_is_refused(page: dict[str, object], admin_sidecar: AdminSidecar) -> None:
    """By the name of its field."""
    with pytest.raises(grpc.RpcError) as caught:
        admin_sidecar.stub.ListHolds(admin_pb2.ListHoldsRequest(**page))  # type: ignore[arg-type]
    assert error_info(caught.value).metadata["field"] == next(iter(page))


def test_l3_a_hold_that_an_operator_releases_is_free_and_says_who_did_it(
    admin_sidecar: AdminSidecar,
) -> None:
    """L3: a Settle that comes later charges nothing; a second release changes nothing."""
    hold = admin_sidecar.call().hold_id
    release = ("ledger", "release", hold, "--admin", admin_sidecar.address, "--signed-by", "ada",
               "--reason", "the job was killed")  # fmt: skip
    for _ in range(2):
        assert command(*release)[:2] == (0, f"{hold}: charged $0.00, 0 tokens\n")
    settle = pb.SettleRequest(hold_id=hold, usage=pb.Usage(input_tokens=5))
    assert admin_sidecar.sidecar.stub.Settle(settle).charged_tokens == 0
    ledger = admin_sidecar.sidecar.ledger
    _, out, _ = command("ledger", "export", "holds", "--format", "json", "--ledger", ledger)
    assert json.loads(out)[0]["outcome"] == "the job was killed (signed by ada)"
    code, _, err = command("ledger", "release", "gone", *release[3:])
    assert (code, "NOT_FOUND" in err) == (1, True)


def test_apps_do_not_reach_the_admin_service_nor_operators_that_of_apps(
    admin_sidecar: AdminSidecar,
) -> None:
    """Each listener has its own service; only the sidecar's user can open the socket."""
    channel = grpc.insecure_channel(admin_sidecar.sidecar.addresses[0])
    with pytest.raises(grpc.RpcError) as caught:
        admin_pb2_grpc.AdminServiceStub(channel).GetStatus(  # type: ignore[no-untyped-call]
            admin_pb2.GetStatusRequest()
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as caught:
        stub(admin_sidecar.address).Authorize(chat(tester(), model="small-1"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    mode = Path(admin_sidecar.address.removeprefix("unix:")).stat().st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


def test_there_is_no_admin_service_by_default(start_sidecar: Start, tmp_path: Path) -> None:
    """And never on the apps' listeners, nor on addresses of other machines."""
    running = start_sidecar(minimal(tmp_path / "p"))
    code, _, err = command("status", "--admin", running.addresses[0])
    assert (code, "UNIMPLEMENTED" in err) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address, expected in (
        ("0.0.0.0:1", "has to be unix:PATH, 127.0.0.1:PORT"),
        (f"127.0.0.1:{port}", "is an address for apps"),
    ):
        code, _, err = command(
            "serve", "--policies", tmp_path / "p", "--ledger", tmp_path / "l.sqlite",
            "--listen", f"127.0.0.1:{port}", "--admin-listen", address,
        )  # fmt: skip
        assert (code, expected in err) == (2, True), err


def test_an_invalid_admin_message_is_refused(admin_sidecar: AdminSidecar) -> None:
    """As invalid messages of apps are."""
    call: Any = grpc.insecure_channel(admin_sidecar.address).unary_unary(
        "/sidecar.v1.AdminService/Adjust"
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff")
    assert error_info(caught.value).metadata["field"] == "request"
