"""Messages of every RPC with one odd thing in them, from odd values to broken bytes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from mistral_spend.v1 import authorization_pb2 as pb
from support.envoys import PATH as CHECK
from support.envoys import check_request
from support.odd_texts import CONTROLS, UNUSUAL
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.server.admin import SERVICE as ADMIN
from sidecar.server.service import SERVICE
from sidecar.v1 import admin_pb2
from siege.attack import Fuzzer

EVE = "eve"
"""The principal of the attack."""
MAX_HOLDS = 50
TIMEOUT_SECONDS = 30.0

TEXTS = [
    *CONTROLS.values(), *UNUSUAL.values(), "", " ", "*", EVE, "small-1", "free-1", "unlimited", "..",
    "../x", "[/]", "[conceal]x", "{0}", "%s", "'; --", "x" * 64, "x" * 257, "é" * 129, "x" * 70_000,
    "0", "-1", "1e999", "1e-12", "NaN", "Infinity", "0x10", "\u0661", "9" * 19, "9" * 5000,
    "18446744073709551616.0", "{}", "[" * 5000, '{"prompt_tokens": 1e18}',
    '{"prompt_tokens": 1, "prompt_tokens": 2}', '{"pages_processed": 1000000000}',
]  # fmt: skip
INTEGERS = [0, 1, -1, 2, 127, 128, 129, 86_400, 86_401, 10**6, 10**9 - 1, 10**9, 10**9 + 1, 2**31 - 1,
            2**31, 2**53, 2**63 - 1, -(2**63)]  # fmt: skip
WIDTHS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**63 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
FLOATS = [0.0, -0.0, 1e308, float("inf"), float("-inf"), float("nan")]

EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""What a message may get; any other status would say that the sidecar failed."""

RESPONSES: dict[str, type[Message]] = {
    "Authorize": pb.AuthorizeResponse,
    "AuthorizeStream": pb.AuthorizeResponse,
    "Settle": pb.SettleResponse,
}


class Messages(Fuzzer):
    """Calls each RPC of apps, of Envoy, of operators and of probes with messages that are odd."""

    name = "messages"
    parameters = "every RPC; odd texts and numbers in any field, broken bytes"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Let the sidecar serve every service that it has."""
        super().__init__(folder, policies, random)
        self._admin = f"unix:{folder / 'admin.sock'}"
        self.arguments = ("--ext-authz", "--ext-authz-from", "id=header:x-user",
                          "--ext-authz-from", "role=extension:role", "--ext-authz-from",
                          "workspace=extension:workspace", "--admin-listen", self._admin,
                          "--reload-seconds", "0")  # fmt: skip
        self._holds = ["hold_of_no_call"]

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a message to an RPC; sometimes several on a stream."""
        options = [("grpc.enable_retries", 0)]
        with (
            grpc.insecure_channel(sidecar.addresses[0], options) as apps,
            grpc.insecure_channel(self._admin, options) as operators,
        ):
            while True:
                path, made = self.random.choice(self._kinds())
                channel = operators if path.startswith(f"/{ADMIN}/") else apps
                if path.endswith("Stream"):
                    sent = [
                        self._encoded(self._authorize()) for _ in range(self.random.randint(1, 8))
                    ]
                    self._stream(channel.stream_stream(path), sent)
                else:
                    self._unary(path, channel.unary_unary(path), self._encoded(made()))
                yield

    def _kinds(self) -> list[tuple[str, Callable[[], Message]]]:
        """Return each RPC's path, with what makes a good request of it."""
        apps: dict[str, Callable[[], Message]] = {
            "Authorize": self._authorize,
            "AuthorizeStream": self._authorize,
            "Settle": self._settle,
            "Release": lambda: pb.ReleaseRequest(hold_id=self._hold(), reason="the user left"),
            "GetBudgets": lambda: pb.GetBudgetsRequest(principal=tester(id=EVE), model="small-1"),
            "Explain": lambda: pb.ExplainRequest(request=self._authorize()),
        }
        signed: dict[str, Any] = {"signed_by": "eve@example.com", "reason": "a siege"}
        operators: dict[str, Callable[[], Message]] = {
            "GetStatus": admin_pb2.GetStatusRequest,
            "Reload": admin_pb2.ReloadRequest,
            "Adjust": lambda: admin_pb2.AdjustRequest(
                rule="tokens", scope=EVE, amount="1", **signed
            ),
            "ListHolds": lambda: admin_pb2.ListHoldsRequest(page_size=10),
            "ReleaseHold": lambda: admin_pb2.ReleaseHoldRequest(hold_id=self._hold(), **signed),
        }
        return [
            *((f"/{SERVICE}/{method}", made) for method, made in apps.items()),
            *((f"/{ADMIN}/{method}", made) for method, made in operators.items()),
            (CHECK, lambda: check_request(headers={"x-user": EVE}, role="tester", workspace="lab")),
            (
                "/grpc.health.v1.Health/Check",
                lambda: health_pb2.HealthCheckRequest(service=SERVICE),
            ),
        ]

    def _authorize(self) -> pb.AuthorizeRequest:
        number = self.random.randrange(1000)
        who = tester(id=EVE, labels={"team": "siege"})
        return chat(who, model="small-1", request_id=f"eve-{number}", hold_ttl_seconds=60)

    def _settle(self) -> pb.SettleRequest:
        usage = pb.Usage(input_tokens=1, output_tokens=1, tool_calls={"web_search": 1})
        if self.random.random() < 0.5:
            return pb.SettleRequest(hold_id=self._hold(), usage=usage)
        return pb.SettleRequest(hold_id=self._hold(), usage_json='{"prompt_tokens": 1}')

    def _hold(self) -> str:
        return self.random.choice(self._holds)

    def _encoded(self, message: Message) -> bytes:
        """Return a message's bytes: good ones, with an odd field, or broken."""
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 5))):
            make_odd(message, self.random)
        encoded = message.SerializeToString()
        return broken(encoded, self.random) if self.random.random() < 0.2 else encoded

    def _unary(self, path: str, call: Any, sent: bytes) -> None:
        compression = self.random.choice([*grpc.Compression])
        ended = call.future(sent, timeout=TIMEOUT_SECONDS, compression=compression)
        code = ended.code()  # waits for the end
        assert code in EXPECTED, (path, sent, code, ended.details())
        if code is grpc.StatusCode.OK:
            self._keep(path, ended.result())

    def _stream(self, call: Any, sent: list[bytes]) -> None:
        answers = call(iter(sent), timeout=TIMEOUT_SECONDS)
        with contextlib.suppress(grpc.RpcError):
            for content in answers:
                self._keep("AuthorizeStream", content)
        assert answers.code() in EXPECTED, (sent, answers.code(), answers.details())

    def _keep(self, path: str, content: bytes) -> None:
        """Remember the hold of a response, and check what was charged."""
        kind = RESPONSES.get(path.rpartition("/")[2])
        answer = kind.FromString(content) if kind else None
        if isinstance(answer, pb.AuthorizeResponse) and answer.hold_id:
            self._holds = [*self._holds[1 - MAX_HOLDS :], answer.hold_id]
        if isinstance(answer, pb.SettleResponse):
            assert answer.charged_cost_nano_usd >= 0, answer
            assert answer.charged_tokens >= 0, answer


def make_odd(message: Message, random: Random) -> None:
    """Set one field, at any depth, to an odd value, or clear it."""
    fields: Sequence[Any] = message.DESCRIPTOR.fields
    if not fields:
        return
    field = random.choice(fields)
    name = field.name
    if random.random() < 0.1:
        message.ClearField(name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        _fill_map(getattr(message, name), field.message_type, random)
    elif field.is_repeated:
        for _ in range(random.choice((1, 1, 2, 70))):
            if field.message_type:
                make_odd(getattr(message, name).add(), random)
            else:
                getattr(message, name).append(_odd_value(field, random))
    elif field.message_type:
        make_odd(getattr(message, name), random)
    else:
        setattr(message, name, _odd_value(field, random))


def _fill_map(entries: Any, entry: Any, random: Random) -> None:
    """Put odd keys and values into a map, sometimes very many."""
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(random.choice((1, 1, 2, 70))):
        if value.message_type:
            make_odd(entries[_odd_value(key, random)], random)
        else:
            entries[_odd_value(key, random)] = _odd_value(value, random)


def _odd_value(field: FieldDescriptor, random: Random) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = random.choice(TEXTS)
        is_bytes = field.type == FieldDescriptor.TYPE_BYTES
        return text.encode() if is_bytes else text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    if field.cpp_type in WIDTHS:
        least, most = WIDTHS[field.cpp_type]
        return max(least, min(most, random.choice(INTEGERS)))
    return random.choice(FLOATS)


def broken(content: bytes, random: Random) -> bytes:
    """Return bytes with one place changed: cut, doubled, flipped, filled, or nested in groups."""
    start = random.randint(0, len(content))
    end = random.randint(start, min(len(content), start + 20))
    middle = random.choice(
        (
            b"",
            content[start:end] * 2,
            bytes(byte ^ 1 << random.randrange(8) for byte in content[start:end]),
            random.randbytes(random.randint(1, 20)),
            b"\xff" * 10,
            b"\x0b" * random.choice((1, 90, 110, 5000)),
            b"\x0a\xff\xff\xff\xff\x07",
        )
    )
    return content[:start] + middle + content[random.choice((end, len(content))) :]
