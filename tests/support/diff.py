"""What whole policy sets decide of a case of `sidecar diff`, by the sidecar's own evaluation."""

from functools import partial

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.request_evaluation import evaluate_request
from sidecar.domain.usage import WITH_OUTPUT, Endpoint
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.case_results import CaseResult
from sidecar.policy_tools.diff.cases import Case, Spent, budgets_of_case, labels_of
from sidecar.policy_tools.diff.dependencies import CALL, KEY, ROLE, WORKSPACE
from sidecar.policy_tools.diff.outcomes import DENIED_IN_BOTH
from support.authorizer_harness import NOON


def decision(policy: PolicySet, case: Case, tokens: int) -> tuple[str, ...]:
    """Return why a whole set denies a call, as a sidecar decides it."""
    model, endpoint = case[CALL]
    has_output = endpoint in WITH_OUTPUT
    request = pb.AuthorizeRequest(
        principal=pb.Principal(
            id="ada",
            role=case[ROLE],
            workspace=case[WORKSPACE],
            key_id=case[KEY],
            labels=dict(labels_of(case)),
        ),
        model=model,
        endpoint=f"ENDPOINT_{endpoint}",
        estimate=pb.Estimate(
            input_tokens=1 if has_output else tokens,
            max_output_tokens=tokens - 1 if has_output else 0,
            pages=int(endpoint is Endpoint.OCR),
            audio_seconds=int(endpoint in (Endpoint.TRANSCRIPTION, Endpoint.REALTIME)),
            characters=int(endpoint is Endpoint.SPEECH),
        ),
    )
    spent = [each for each in case.values() if isinstance(each, Spent)]
    result = evaluate_request(policy, request, NOON, partial(budgets_of_case, spent))
    return tuple(sorted(f"{r.code} ({r.rule})" if r.rule else r.code for r in result.reasons))


def agrees(policy: PolicySet, case: Case, shown: CaseResult) -> bool:
    """Whether a result is what the whole set decides, for the sizes on both sides of its bound."""
    denied = set(decision(policy, case, 2))
    if DENIED_IN_BOTH.denied[0] in shown.denied:
        return set(shown.denied) - set(DENIED_IN_BOTH.denied) < denied
    if denied != set(shown.denied):
        return False
    most = shown.most_tokens
    if shown.denied or most is None:
        return True
    return not decision(policy, case, most) and bool(decision(policy, case, most + 1))
