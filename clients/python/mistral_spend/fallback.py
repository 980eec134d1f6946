"""What an app accepts in place of a call that limits deny: less output, or another model."""

from collections.abc import Sequence
from dataclasses import dataclass

from mistral_spend.errors import Denied
from mistral_spend.sidecar_client import Authorization


@dataclass(frozen=True)
class Fallback:
    """The least output that an app accepts, None for no less than requested, and other models.

    The first model is preferred.
    """

    min_output_tokens: int | None
    models: Sequence[str]

    @classmethod
    def of(
        cls, when_denied: str, min_output_tokens: int | None, models: Sequence[str]
    ) -> "Fallback | None":
        """Read the options of `guard`; None raises Denied at once. Raises ValueError."""
        if when_denied not in ("raise", "shrink"):
            raise ValueError('when_denied is "raise" or "shrink"')
        if min_output_tokens is not None and min_output_tokens < 1:
            raise ValueError("min_output_tokens is 1 or more")
        if isinstance(models, str):
            raise ValueError("fallback_models is a list of models")
        accepts = min_output_tokens is not None or bool(models)
        if accepts != (when_denied == "shrink"):
            raise ValueError(
                'when_denied="shrink" goes with min_output_tokens, fallback_models or both'
            )
        return cls(min_output_tokens, tuple(models)) if accepts else None

    def instead(self, authorization: Authorization, denied: Denied) -> Authorization | None:
        """Return what would fit and the app accepts, or None; less output before another model."""
        output = denied.fitting_max_output_tokens
        if self.min_output_tokens is not None and output >= self.min_output_tokens:
            return authorization.with_output(output)
        for model in self.models:
            if model in denied.fitting_models:
                return authorization.with_model(model)
        return None
