"""All mutants."""

from mutants import admitting, spending

ALL = [
    *(admitting.L1 + admitting.L3 + admitting.L4),
    *(spending.L2 + spending.L5 + spending.L6 + spending.L7 + spending.L8 + spending.L9),
]
