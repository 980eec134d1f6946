"""The contract's bounds on the parts of a request, in bytes or entries."""

MAX_ID_BYTES = 256
MAX_LABELS = 64
MAX_LABEL_KEY_BYTES = 64
MAX_LABEL_VALUE_BYTES = 256
MAX_CHOICES = 128
