"""`make demo`: the whole job, with a real sidecar and the real Mistral SDK."""
