"""All mutants."""

from mutants import admission, alerts, alternatives, denials, keys, retirement, spend, units

ALL = [
    *(admission.L1 + admission.L3 + admission.L4),
    *(alerts.A1 + alerts.A2),
    *denials.D1,
    *(keys.U1 + keys.K1 + keys.K2 + keys.K3),
    *(spend.L2 + spend.L5 + spend.L6 + spend.L7 + spend.L8 + spend.L9),
    *units.UNITS,
    *alternatives.F1,
    *(retirement.R1 + retirement.A1),
]
