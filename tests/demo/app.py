"""A sample app: it authorizes each call to Mistral, and settles its usage afterwards."""

import uuid
from dataclasses import dataclass

from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from mistralai.client import Mistral
from mistralai.client.models import UserMessage


@dataclass
class Chat:
    """Mistral's response, or None with the reasons of the denial."""

    text: str | None
    decision: pb.AuthorizeResponse
    settled: pb.SettleResponse | None = None


@dataclass
class App:
    """A chat application."""

    sidecar: AuthorizationServiceStub
    mistral: Mistral

    def chat(self, who: pb.Principal, model: str, prompt: str, max_tokens: int = 0) -> Chat:
        """Authorize, call Mistral, settle."""
        decision = self.sidecar.Authorize(
            pb.AuthorizeRequest(
                request_id=str(uuid.uuid4()),
                principal=who,
                model=model,
                endpoint=pb.ENDPOINT_CHAT,
                estimate=pb.Estimate(
                    input_bytes=len(prompt.encode()) + 100,  # the JSON around it
                    max_output_tokens=max_tokens,
                ),
            )
        )
        if decision.effect != pb.EFFECT_ALLOW:
            return Chat(None, decision)
        response = self.mistral.chat.complete(
            model=model,
            messages=[UserMessage(content=prompt)],
            max_tokens=decision.max_output_tokens,
        )
        settled = self.sidecar.Settle(
            pb.SettleRequest(
                hold_id=decision.hold_id,
                usage_json=response.usage.model_dump_json(),
                response_model=response.model,
                outcome=pb.OUTCOME_OK,
            )
        )
        message = response.choices[0].message
        return Chat(str(message and message.content), decision, settled)
