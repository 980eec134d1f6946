"""All mutants."""

from mutants import admitting, alerting, keys, spending, units

ALL = [
    *(admitting.L1 + admitting.L3 + admitting.L4),
    *(alerting.A1 + alerting.A2),
    *(keys.U1 + keys.K1 + keys.K2 + keys.K3),
    *(spending.L2 + spending.L5 + spending.L6 + spending.L7 + spending.L8 + spending.L9),
    *units.UNITS,
]
