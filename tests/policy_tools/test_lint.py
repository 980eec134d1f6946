"""Warnings: what loads and is probably not meant. Each has a row in docs/lints.md."""

import re
from pathlib import Path

import pytest
from support.policies import MODELS, ROLES, SHIPPED, deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.files import data, directory
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy_tools.lint.lint import HELP, MAX_WARNINGS, lint
from sidecar.policy_tools.testing import fixtures

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lints.md").read_text()

LABEL = 'principal.labels["team"] == "ml"'
GUARDED = f'"team" in principal.labels && {LABEL}'
ALLOW_ML = f"// METADATA\n// effect: allow\n// owner: a@b\n{LABEL}\n"
WORKSPACE = "workspaces:\n  w:\n    monthly_budget_usd: 5\n    requests_per_minute: 1\n"

PRICED = MODELS.replace(
    "    family: free\n",
    """    family: free
    prices:
    - {effective_from: 2020-01-01, input_usd_per_million_tokens: 0}
""",
)
MANY_MODELS = "models:\n" + "".join(
    f"  m{n}:\n    family: f\n    prices: [{{effective_from: 2020-01-01, input_usd_per_million_tokens: 0}}]\n"
    for n in range(100)
)
MANY_ROLES = ROLES + "".join(
    ROLES.replace("\nroles:\n", "").replace("tester", f"r{n}") for n in range(100)
)
TWO_ROLES = ROLES + ROLES.replace("roles:", "").replace("tester", "other")

ONE_ROLE_HAS = TWO_ROLES.replace("unlimited\n", "unlimited\n    labels: {team: a}\n", 1)

TEST = "tests:\n- name: a test\n{}  steps:\n{}"
TABLE = "  each:\n  - {role: tester, reasons: [NO]}\n  - {role: ghost, reasons: [NO]}\n"
STEP = """\
  - authorize:
      principal: {{id: {id}, role: {role}, workspace: {workspace}, key_id: "{key}"}}
      model: {model}
    expect: {expect}
"""


def step(expect: str, **other: str) -> str:
    """Write a step whose names are all known but the given ones."""
    known = {"id": "ada", "role": "tester", "workspace": "lab", "key": "", "model": "small-latest"}
    return STEP.format(**(known | other), expect=expect)


def balance(rule: str, scope: str) -> str:
    """Write what a limit has used before a test."""
    return f"  balances:\n  - {{rule: {rule}, scope: {scope}, spent: 1}}\n"


DENIED = "{effect: deny, reasons: [NO]}"
UNKNOWN_KEYS = deny('key.state == "unknown"').replace("reason: NO", "reason: WHAT_KEY")
KEYED = {
    "x": UNKNOWN_KEYS, "y": limit("5", per="key.id"),
    "k_yaml": "keys:\n  web-key: {workspace: lab, requests_per_minute: unlimited}\n",
}  # fmt: skip

# the warning, the files, where it is, what it suggests
WARNED = [
    ("no-such-model", {"w_yaml": WORKSPACE + "    allowed_models: [smal]\n"},
     "w.yaml:5:22", "did you mean 'small'?"),
    ("no-such-workspace", {"k_yaml": "keys:\n  k: {workspace: lap}\n"},
     "k.yaml:2:18", "did you mean 'lab'?"),
    ("no-price", {"money": limit("10", meter="cost")}, "models.yaml:", "a free model has the price 0"),
    ("unguarded-label", {"x": deny(LABEL)}, "x.cel:8:1", '"team" in principal.labels'),
    ("unguarded-label", {"x": deny('principal.labels.team == "ml"')}, "x.cel:8:1", "guard it"),
    ("unguarded-label", {"x": deny('"ml" in principal.labels["team"].split(",")')}, "x.cel:8:9", "guard it"),
    ("unguarded-label", {"x": deny('principal.labels["team"].split(",").exists(t, t.trim() == "ml")')}, "x.cel:8:1", "guard it"),
    ("unguarded-label", {"x": limit("5", per='principal.labels["team"].lowerAscii()')}, "x.cel:9:9", "give those without it"),
    ("unguarded-label", {"x": deny('principal.id.split(",").exists(t, principal.labels[t] == "ml")')}, "x.cel:8:35", ""),
    ("unguarded-label", {"x": limit("5", per='principal.labels["team"]')}, "x.cel:9:9", "give those without it"),
    ("unguarded-key", {"x": deny('{"a": 1}[principal.labels["team"]] > 0')},
     'x.cel:8:1: warning: without the key principal.labels["team"] this fails', 'in {"a": 1} && …'),
    ("unguarded-label", {"x": deny('{"a": 1}[principal.labels["team"]] > 0')}, "x.cel:8:10", "guard it"),
    ("unguarded-key", {"x": limit('{"other": 50}[model.family]')},
     "x.cel:10:1: warning: without the key model.family this fails, and so denies; the map has no entry for free, small", "guard it"),
    ("unguarded-key", {"x": deny(f'{GUARDED.split(" &&", maxsplit=1)[0]} && {{"a": true}}[principal.labels.team]')}, "x.cel:8:31", ""),
    ("unguarded-key", {"x": deny('model.family in {"small": 1} && {"big": 1}[model.family] > 0')}, "x.cel:8:33: warning: without the key model.family this fails, and so denies; the map has no entry for small", ""),
    ("unguarded-key", {"x": deny('model.family in ["small", "free"] && {"small": 1}[model.family] > 0')}, "x.cel:8:38", ""),
    ("unguarded-key", {"x": deny('!(model.family in {"small": 1}) && {"small": 1}[model.family] > 0')}, "x.cel:8:36", ""),
    ("unguarded-key", {"x": deny('model.family == "free" || {"small": 1}[model.family] > 0').replace("free", "else")}, "x.cel:8:27", ""),
    ("unguarded-key", {"x": deny('role.labels["team"] == "a"')}, "x.cel:8:1", '"team" in role.labels'),
    ("unguarded-key", {"x": deny('workspace.labels.team == "a"')}, "x.cel:8:1", '"team" in workspace.labels'),
    ("unguarded-key", {"x": deny('key.labels["team"] == "a"')}, "x.cel:8:1", ""),
    ("unguarded-key", {"x": deny('workspace.services["ci"].allowed_models == ["*"]')}, "x.cel:8:1", ""),
    ("unguarded-key", {"x": deny('request.tool_calls["web_search"] > 5')}, "x.cel:8:1", ""),
    ("unguarded-key", {"x": deny('(request.batch ? {"small": 1, "free": 2} : {"small": 1})[model.family] > 1')}, "x.cel:8:1", "no entry for free"),
    ("unguarded-key", {"x": deny('{"small": 1}[request.batch ? "small" : "large"] > 0')}, "x.cel:8:1", "no entry for large"),
    ("unguarded-key", {"x": limit("5", per='request.batch ? "" : role.labels.team')}, "x.cel:9:30", "give those"),
    ("unguarded-label", {"x": deny('principal.labels[request.region] == "a"')},
     "x.cel:8:1: warning: without the label request.region this fails", "request.region in principal.labels && …"),
    ("unguarded-key", {"roles_yaml": ONE_ROLE_HAS, "x": deny('role.labels["team"] == "a"')}, "x.cel:8:1", ""),
    ("unguarded-key", {"roles_yaml": ONE_ROLE_HAS, "x": deny('role.labels["team"] == "a"')},
     'x.cel:8:1: warning: without the key "team" this fails, and so denies; it is missing for other', ""),
    ("unguarded-key", {"roles_yaml": ONE_ROLE_HAS, "x": limit("5", per='role.labels["team"]')},
     'x.cel:9:9: warning: without the key "team" this fails, and so denies; it is missing for other', "give those without it a scope"),
    ("unguarded-key", {"roles_yaml": ONE_ROLE_HAS, "x": deny("request.batch", message='{request.model} of {role.labels["team"]}')},
     'x.cel:6:33: warning: without the key "team" this fails, and the message is shown as it is written; it is missing for other', "a text"),
    ("unguarded-key", {**KEYED, "k_yaml": "keys:\n  web: {workspace: lab, labels: {tier: a}}\n  app: {workspace: lab}\n",
                       "x": deny('key.labels["tier"] == "a"')}, 'x.cel:8:1: warning: without the key "tier" this fails, and so denies; '
     "it is missing for app, calls without a key", ""),
    ("unguarded-key", {**KEYED, "k_yaml": "keys:\n  web: {workspace: lab, labels: {tier: a}}\n  app: {workspace: lab}\n",
                       "x": deny('principal.key_id == "app" && key.labels["tier"] == "a"')}, "it is missing for app [", ""),
    ("unguarded-key", {"models_yaml": "models:\n" + "".join(f"  m{n:02}: {{family: f{n:02}}}\n" for n in range(20)),
                       "x": limit('{"f00": 5}[model.family]')}, "for f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, f12 and 7 more", ""),
    ("no-value", {"x": limit("role.daily_token_budget * 2", meter="tokens")},
     "x.cel:10:1: warning: this fails for role tester", "unlimited ?"),
    ("no-value", {"x": deny("request.tokens > 5 && request.tokens > 1 - role.daily_token_budget * -2")},
     "x.cel:8:44: warning: this fails for role tester", ""),
    ("no-value", {"x": deny("request.batch && int(workspace.monthly_budget_usd) > 5")}, "x.cel:8:18: warning: this fails for workspace lab [", ""),
    ("no-value", {"x": deny('workspace.name == "lab" ? role.daily_token_budget + 1 > request.tokens : false')}, "x.cel:8:27: warning: this fails for role tester, workspace lab [", ""),
    ("no-value", {"roles_yaml": ONE_ROLE_HAS, "x": deny("has(role.labels.team) && request.batch && role.daily_token_budget * 2 > 5")},
     "x.cel:8:43: warning: this fails for role tester [", ""),
    ("no-value", {"x": limit("5", per='-role.daily_token_budget - 9 > 0 ? "a" : "b"')}, "x.cel:9:9: warning: this fails, and so denies, for role tester", ""),
    ("no-value", {"x": deny("request.batch", message="at most {role.daily_token_budget * 2}")}, "x.cel:6:22: warning: this fails, and the message", ""),
    ("no-value", {"allow_all": ALLOW_ML.replace(LABEL, "key.requests_per_minute + 1 > request.pages")}, "for key calls without a key", ""),
    ("constant-rule", {"x": deny('role.name == "ghost"')}, "x.cel:8:1", ""),
    ("constant-rule", {"x": deny("true")}, "x.cel:8:1", ""),
    ("limit-never-bites", {"x": limit("workspace.requests_per_minute")}, "x.cel:10:1", ""),
    ("limit-always-bites", {"x": limit("0")}, "x.cel:10:1", ""),
    ("same-as-another", {"a": deny("request.tokens > 5"), "b": deny("request.tokens  > 5")},
     "b.cel:8:1", "remove one of them"),
    ("same-as-another", {"a": deny("request.tokens > 5 && request.batch"),
                         "b": deny("(request.batch && (request.tokens > 5))")},
     "b.cel:8:1", "remove one of them"),
    ("shadowed-rule", {"a": deny("request.tokens > 5"), "b": deny("request.batch && request.tokens > 5")},
     "b.cel:8:1: warning: true only where a is true", "remove the narrower"),
    ("shadowed-rule", {"x": ALLOW_ML}, "x.cel:4:1: warning: true only where allow-all is true", ""),
    ("limit-never-bites", {"a": limit("500", window="minute"), "b": limit("100", window="month")},
     "a.cel:10:1: warning: never below the ceiling of b", "a minute should have less than a month"),
    ("limit-never-bites", {"a": limit("200", window="week"), "b": limit("100", window="month")},
     "a.cel:10:1: warning: never below the ceiling of b", "a week should have less than a month"),
    ("limit-never-bites", {"a": limit("100", window="month"), "b": limit("100", window="year")},
     "a.cel:10:1: warning: never below the ceiling of b", ""),
    ("limit-never-bites", {"a": limit("9", window="year"), "b": limit("9", window="total")},
     "a.cel:10:1: warning: never below the ceiling of b", "a year should have less than a total"),
    ("unit-mismatch", {"x": limit("role.daily_token_budget")},
     "x.cel:10:1: warning: the limit counts requests, but daily_token_budget is tokens", "`meter: tokens`"),
    ("unit-mismatch", {"x": limit("role.daily_token_budget", meter="tokens", window="month")},
     "x.cel:10:1: warning: the window is month, but daily_token_budget is for a day", "`window: day`"),
    ("unit-mismatch", {"models_yaml": PRICED, "a": limit("10", meter="cost"),
                       "b": deny('spend["a"].used > 5')},
     "b.cel:8:19", "a dollar is 1000000000"),
    ("no-rule-reads", {"w_yaml": WORKSPACE + "    allowed_models: ['*']\n"},
     "w.yaml:3:25: warning: no rule reads workspace.monthly_budget_usd", "write a rule that reads it"),
    ("no-rule-reads", {"w_yaml": WORKSPACE + "    allowed_models: ['*']\n",
                       "x": limit("\n// workspace.monthly_budget_usd\nrequest.batch ? 5 : 6")},
     "w.yaml:3:25: warning: no rule reads workspace.monthly_budget_usd", ""),
    ("no-rule-reads", {"w_yaml": WORKSPACE + "    allowed_models: ['*']\n",
                       "x": deny("request.batch", message="{workspace.monthly_budget_usd}")},
     "w.yaml:3:25: warning: no rule reads workspace.monthly_budget_usd", ""),
    ("no-rule-reads", {"w_yaml": WORKSPACE + "    allowed_models: ['*']\n",
                       "x": deny("workspace.monthly_budget_usd > 3.0", mode="shadow")},
     "w.yaml:3:25: warning: only shadow rules read workspace.monthly_budget_usd", "write a rule that reads it"),
    ("same-as-family", {"more_yaml": "models:\n  big-1:\n    family: big\n    aliases: [small]\n"},
     "more.yaml:4:15: warning: 'small' is also the family of small-1: allow-lists that name it open all", "rename it"),
    ("same-as-family", {"more_yaml": "models:\n  small: {family: big}\n"}, "more.yaml:2:3:", ""),
    ("same-looking-name", {"more_yaml": "roles:\n  t\u0435ster: {allowed_models: [], max_tokens_per_request: 1, daily_token_budget: unlimited}\n"},
     "more.yaml:2:3: warning: 't\u0435ster' looks like 'tester', and is another name",
     "character 2 is U+0435 CYRILLIC SMALL LETTER IE, not U+0065 LATIN SMALL LETTER E"),
    ("same-looking-name", {"w_yaml": WORKSPACE.replace(" w:", " Lab:") + "    allowed_models: []\n"}, "w.yaml:2:3:",
     "character 1 is U+004C LATIN CAPITAL LETTER L"),
    ("same-looking-name", {"more_yaml": "models:\n  x: {family: caf\u00e9}\n  y: {family: y, aliases: [cafe\u0301]}\n"},
     "more.yaml:2:15: warning: 'caf\u00e9' looks like 'cafe\u0301'", "character 4 is U+00E9"),
    ("same-looking-name", {"k_yaml": "keys:\n  web: {workspace: lab}\n  \uff57eb: {workspace: lab}\n"}, "k.yaml:3:3:", "FULLWIDTH"),
    ("same-looking-name", {"w_yaml": WORKSPACE + "    allowed_models: []\n    services:\n      ci: {allowed_models: []}\n      CI: {allowed_models: []}\n"},
     "w.yaml:8:7: warning: 'CI' looks like 'ci'", ""),
    ("same-looking-name", {"roles_yaml": ROLES.replace('"*"', "sm\u0430ll")},
     "roles.yaml:4:22: warning: 'sm\u0430ll' looks like 'small'", "U+0430 CYRILLIC SMALL LETTER A"),
    ("same-looking-name", {"x": deny('request.batch && principal.id == "\u0430da"')},
     "x.cel:8:34: warning: '\u0430da' looks like 'ada', and is another text", "character 1 is U+0430"),
    ("same-test-name", {"x_test_yaml": TEST.format("", step("{effect: allow}")) + TEST.format("", step("{effect: allow}")).removeprefix("tests:\n")},
     "x_test.yaml:8:9: warning: the test at x_test.yaml:2 has this name", "rename one"),
    ("same-test-name", {"x_test_yaml": TEST.format("  each: [{a: ada}, {a: bob}]\n", step("{effect: allow}", id="'${a}'"))},
     "x_test.yaml:2:9: warning: each row of `each` has this name", "${role}"),
    ("no-anchors", {"allow_all": ALLOW_ML.replace(LABEL, 'principal.id.matches("svc")')},
     "allow-all.cel:4:22: warning: matches() finds this anywhere in a text", "`.*` for one that is open"),
    ("no-anchors", {"allow_all": ALLOW_ML.replace(LABEL, 'request.batch && principal.id.matches("^svc-")')}, "allow-all.cel:4:39:", ""),
    ("no-anchors", {"allow_all": ALLOW_ML.replace(LABEL, 'principal.id.matches("^a|b$")')}, "allow-all.cel:4:22:", ""),
    ("no-anchors", {"allow_all": ALLOW_ML.replace(LABEL, 'principal.id.matches("a$") || true')}, "allow-all.cel:4:22:", ""),
    ("no-anchors", {"allow_all": ALLOW_ML.replace(LABEL, '!(!principal.id.matches("[$]"))')}, "allow-all.cel:4:25:", ""),
    ("no-anchors", {"x": deny('!principal.id.matches("svc")')}, "x.cel:8:23:", ""),
    ("no-rule-allows", {"allow_all": ALLOW_ML.replace(LABEL, f'role.name == "boss" && {LABEL}')},
     "roles.yaml:3:3", "write an allow rule for it"),
    ("no-rule-allows", {"allow_all": ALLOW_ML.replace(LABEL, 'workspace.name == "attic"')},
     "workspaces.yaml:3:3", "write an allow rule for it"),
    ("unguarded-label", {"x": deny(f'request.batch && "team" in principal.labels || {LABEL}')}, "x.cel:8:48", "guard it"),
    ("unguarded-label", {"x": deny(f'!("team" in principal.labels) && {LABEL}')}, "x.cel:8:34", "guard it"),
    ("unguarded-label", {"x": deny(f'"team" in principal.labels ? request.batch : {LABEL}')}, "x.cel:8:46", "guard it"),
    ("unguarded-label", {"x": deny(f'"other" in principal.labels && {LABEL}')}, "x.cel:8:32", "guard it"),
    ("unguarded-label", {"x": limit("5", per='request.batch ? "" :  principal.labels.team')}, "x.cel:9:31", "give those"),
    ("limit-never-bites", {"models_yaml": MANY_MODELS, "x": limit("workspace.requests_per_minute")}, "x.cel:10:1", ""),
    ("no-such-name", {"x": deny('role.name == "testr"')}, "x.cel:8:14: warning: no role is named 'testr'",
     "did you mean 'tester'?"),
    ("no-such-name", {"x": deny('"testr" != principal.role')}, "x.cel:8:1:", "did you mean 'tester'?"),
    ("no-such-name", {"x": deny('request.batch && workspace.name in ["lab", "lap"]')}, "x.cel:8:44:", "did you mean 'lab'?"),
    ("no-such-name", {"x": deny('principal.workspace == "lap"')}, "x.cel:8:24:", "did you mean 'lab'?"),
    ("no-such-name", {"x": deny('model.id == "small-latest"')}, "x.cel:8:13: warning: 'small-latest' is an alias",
     "model.id is 'small-1'"),
    ("no-such-name", {"x": deny('model.family == "smal"')}, "x.cel:8:17:", "did you mean 'small'?"),
    ("no-such-name", {"x": deny('"smal" in model.names')}, "x.cel:8:1:", "did you mean 'small'?"),
    ("no-such-name", {"x": deny('request.model == "smal-1"')}, "x.cel:8:18:", "did you mean 'small-1'?"),
    ("no-such-name", {"x": deny('key.state == "revokd"')}, "x.cel:8:14:", "did you mean 'revoked'?"),
    ("no-such-name", {"x": deny('request.endpoint == "chat"')}, "x.cel:8:21:", "did you mean 'CHAT'?"),
    ("no-such-name", {"x": limit('(role.name) == ("testr") ? 5 : unlimited')}, "x.cel:10:17:", "did you mean 'tester'?"),
    ("no-such-entry", {"x_test_yaml": TEST.format("", step(DENIED, role="testr"))},
     "x_test.yaml:5:34: warning: no role is named 'testr', and ROLE_UNKNOWN is not expected", "did you mean 'tester'?"),
    ("no-such-entry", {"x_test_yaml": TEST.format("", step("{}", workspace="lap"))}, "x_test.yaml:5:", "did you mean 'lab'?"),
    ("no-such-entry", {"x_test_yaml": TEST.format("", step(DENIED, model="smal"))}, "x_test.yaml:6:14:", ""),
    ("no-such-entry", {"x_test_yaml": TEST.format("", step("{reasons: [ROLE_UNKNOWN]}", model="smal"))}, "x_test.yaml:6:14:", ""),
    ("no-such-entry", {**KEYED, "x_test_yaml": TEST.format("", step(DENIED, key="wob-key#2"))}, "x_test.yaml:5:", "'web-key'"),
    ("no-such-entry", {"x_test_yaml": TEST.format(TABLE, step("{reasons: '${reasons}'}", role="'${role}'"))},
     "x_test.yaml:8:34: warning: no role is named 'ghost'", ""),
    ("no-such-scope", {"x": limit("5", per="principal.id"), "x_test_yaml": TEST.format(balance("x", "bob"), step("{}"))},
     "x_test.yaml:4:22:", ""),
    ("no-expectations", {"x_test_yaml": TEST.format("", step("{}"))},
     "x_test.yaml:2:9: warning: nothing is expected, so this passes always", "add `expect`"),
    ("no-expectations", {"x_test_yaml": TEST.format("", "  - advance: 1s\n")}, "x_test.yaml:2:9:", ""),
    ("no-expectations", {"x_test_yaml": TEST.format("", step("{effect: allow}") + step("{remaining: {}}"))},
     "x_test.yaml:11:5: warning: this is empty", "leave it out"),
    ("no-reasons", {"x_test_yaml": TEST.format("", step("{effect: deny, rules: [allow-all]}"))},
     "x_test.yaml:7:5: warning: this passes for any denial", "add the reasons"),
    ("no-such-time", {"x": deny("now.getDayOfWeek() == 7")}, "x.cel:8:23: warning: getDayOfWeek() is from 0 to 6",
     "0 is Sunday"),
    ("no-such-time", {"x": deny('now.getMonth("Europe/Paris") in [11, 12]')}, "x.cel:8:38:", "0 is January"),
    ("no-such-time", {"x": deny("24 <= now.getHours()")}, "x.cel:8:1:", ""),
    ("no-such-time", {"x": deny("now.getMinutes() > 60")}, "x.cel:8:20:", ""),
    ("no-such-time", {"x": deny("now.getDate() == 0")}, "x.cel:8:18:", ""),
]  # fmt: skip

ANCHORED = ["^svc$", "^(a|b)$", "^(?:a|b)$", "(?i)^svc$", "^svc-.*", ".*-svc$", ".*svc.*", "^a$|^b$",
            "^[|]$", r"^\\|$", r"\\Asvc\\z"]  # fmt: skip

NOT_WARNED = [
    *(
        (f"a guarded list: {read}", {"x": deny(f'"team" in principal.labels && {read}')})
        for read in (
            '"ml" in principal.labels["team"].split(",")',
            'principal.labels.team.split(",").exists(t, t.trim().lowerAscii() == "ml")',
        )
    ),
    (
        "a week that may lie in two months",
        {"a": limit("199", window="week"), "b": limit("100", window="month")},
    ),
    (
        "a day that may lie in two months",
        {"a": limit("199", extra="// starts_at: 06:00\n"), "b": limit("100", window="month")},
    ),
    (
        "two anchors of one window",
        {
            "a": limit("100", window="month"),
            "b": limit("100", window="month", extra="// starts_on: 2\n"),
        },
    ),
    *(
        (
            f"the pattern {pattern}",
            {"allow_all": ALLOW_ML.replace(LABEL, f'principal.id.matches("{pattern}")')},
        )
        for pattern in ANCHORED
    ),
    (
        "a calculation that is guarded",
        {
            "x": limit(
                "role.daily_token_budget == unlimited ? 5 : role.daily_token_budget * 2",
                window="month",
                per="principal.id",
            ),
            "y": deny(
                'principal.role == "ghost2" && role.daily_token_budget * 2 < request.tokens || request.batch'
            )
            .replace("ghost2", "tester")
            .replace('== "', '!= "'),
        },
    ),
    (
        "a function that has a value for every entry",
        {"x": deny("request.batch && size(role.allowed_models) > 5 && int(2.5) > request.pages")},
    ),
    (
        "a macro over a list",
        {"x": deny("role.allowed_models.exists(m, m + m == request.region)")},
    ),
    (
        "texts of other languages",
        {
            "x": deny(
                'request.batch && principal.id in ["\u0430\u0431\u0432", "caf\u00e9", "\u65e5x"]'
            )
        },
    ),
    ("a pattern that denies", {"x": deny('principal.id.matches("svc")')}),
    (
        "a pattern that keeps out",
        {"allow_all": ALLOW_ML.replace(LABEL, '!principal.id.matches("svc")')},
    ),
    (
        "a model that has the name of its family, and other names that are alike in part",
        {"more_yaml": "models:\n  big: {family: big, aliases: [big-1]}\n  big-2: {family: big}\n"},
    ),
    (
        "names that are alike, of other kinds",
        {"k_yaml": "keys:\n  Lab: {workspace: lab}\n"},
    ),
    (
        "a minute that may bite where two hours meet",
        {"a": limit("60", window="minute"), "b": limit("60", window="hour")},
    ),
    (
        "texts that differ in a space",
        {"a": deny('"a  b" == request.region'), "b": deny('"a b" == request.region')},
    ),
    (
        "money as a product",
        {
            "models_yaml": PRICED,
            "a": limit("10", meter="cost"),
            "b": deny('spend["a"].used > 5 * 1000000000'),
        },
    ),
    (
        "a name that a fixture expects to be unknown",
        {"x_test_yaml": TEST.format("", step("{reasons: [ROLE_UNKNOWN]}", role="ghost"))},
    ),
    (
        "a key that a fixture expects to be unknown",
        {
            **KEYED,
            "x_test_yaml": TEST.format(
                "", step("{effect: deny, reasons: [WHAT_KEY]}", key="ghost")
            ),
        },
    ),
    (
        "a version of a key, and its balance",
        {
            **KEYED,
            "x_test_yaml": TEST.format(
                balance("y", "web-key"), step("{effect: allow}", key="web-key#2")
            ),
        },
    ),
    (
        "the balance of a principal who calls",
        {
            "x": limit("5", per="principal.id"),
            "x_test_yaml": TEST.format(balance("x", "ada"), step("{effect: allow}")),
        },
    ),
    (
        "a step before the one that is tested",
        {
            "x_test_yaml": TEST.format(
                "", step("{effect: allow}") + "  - advance: 1s\n" + step("{effect: allow}")
            ),
        },
    ),
    (
        "the balance of a scope that is worked out",
        {
            "x": limit("5", per='role.name + "@" + workspace.name'),
            "x_test_yaml": TEST.format(balance("x", "tester@lab"), step("{effect: allow}")),
        },
    ),
    ("a guarded label", {"x": deny(GUARDED)}),
    (
        "a guarded label, whose guard is written otherwise",
        {"x": deny(f"'team' in (principal.labels) && {LABEL}")},
    ),
    (
        "a label that is the key of a guard",
        {
            "x": deny(
                '"team" in principal.labels && principal.labels["team"] in {"a": 1} && {"a": 1}[principal.labels.team] > 0'
            )
        },
    ),
    (
        "a key that its map has",
        {"x": deny('model.family in {"small": 1} && {"small": 1}[model.family] > request.pages')},
    ),
    (
        "a key of a branch",
        {"x": limit('model.family in {"small": 5} ? {"small": 5}[model.family] : 6')},
    ),
    (
        "a key that is in a list",
        {"x": deny('model.family in ["small"] && {"small": 1}[model.family] > request.pages')},
    ),
    (
        "a key that is compared",
        {"x": deny('model.family == "small" && {"small": 1}[model.family] > request.pages')},
    ),
    (
        "a key that is one of two",
        {
            "x": deny(
                '(model.family == "small" || "free" == model.family) && {"small": 1, "free": 2}[model.family] > request.pages'
            )
        },
    ),
    (
        "a key where it is not another",
        {"x": deny('model.family != "small" || {"small": 1}[model.family] > request.pages')},
    ),
    ("every name that there is", {"x": limit('{"small": 5, "free": 6}[model.family]')}),
    ("a key that is written in the map", {"x": deny('{"a": 1}["a"] > request.pages')}),
    ("an item of a list", {"x": deny("[5, 6][0] > request.pages")}),
    (
        "a label that every role has",
        {
            "roles_yaml": TWO_ROLES.replace("unlimited\n", "unlimited\n    labels: {team: a}\n"),
            "x": deny('role.labels["team"] == request.region'),
        },
    ),
    (
        "a label of the one role that has it",
        {
            "roles_yaml": ONE_ROLE_HAS,
            "x": deny('role.name == "tester" && role.labels.team == request.region'),
        },
    ),
    (
        "a service whose workspace has it",
        {
            "x": deny(
                '"a" in workspace.services && request.region in workspace.services["a"].allowed_models'
            )
        },
    ),
    (
        "a key in an allow rule",
        {
            "allow_all": "// METADATA\n// effect: allow\n// owner: a@b\n"
            '!({"a": false}[request.region]) || true\n'
        },
    ),
    (
        "an approved number of tool calls",
        {"x": deny('"web_search" in request.tool_calls && request.tool_calls["web_search"] > 5')},
    ),
    ("a label guarded by has()", {"x": deny(f"has(principal.labels.team) && {LABEL}")}),
    ("an allow rule without a guard", {"allow_all": ALLOW_ML}),
    (
        "two rules of which neither is about more",
        {
            "a": deny("request.tokens > 5 && request.pages > 1"),
            "b": deny("request.tokens > 5 && request.pages > 2"),
        },
    ),
    (
        "a rule on trial beside a broader one",
        {
            "a": deny("request.tokens > 5"),
            "b": deny("request.tokens > 5 && request.batch", mode="shadow"),
        },
    ),
    (
        "a minute with less than a day",
        {
            "a": limit("5", window="minute"),
            "b": limit("50", window="day"),
        },
    ),
    (
        "a minute with more than a day of another scope",
        {
            "a": limit("500", window="minute"),
            "b": limit("50", window="day", per="principal.id"),
        },
    ),
    (
        "a field with the unit of its limit",
        {
            "w_yaml": WORKSPACE + "    allowed_models: []\n",
            "a": limit("workspace.requests_per_minute", window="minute"),
            "b": deny("workspace.monthly_budget_usd < 3.0 && request.batch"),
        },
    ),
    (
        "dollars in nano-USD",
        {
            "models_yaml": PRICED,
            "a": limit("10", meter="cost"),
            "b": deny('spend["a"].used > 5000000000'),
        },
    ),
    (
        "a role that some call may have",
        {
            "roles_yaml": TWO_ROLES,
            "allow_all": ALLOW_ML.replace(LABEL, f'role.name == "tester" || {LABEL}'),
        },
    ),
    ("a limit that bites some", {"x": limit('role.name == "tester" ? 5 : unlimited')}),
    ("a rule of the request", {"x": deny("request.tokens > 5")}),
    ("a rule of keys that are not listed", {"x": deny('key.state == "revoked"')}),
    (
        "a condition on an order of models that is cut short",
        {
            "models_yaml": MANY_MODELS,
            "roles_yaml": MANY_ROLES,
            "allow_all": ALLOW_ML,
            "x": deny('role.name == "r99" && model.id == "m99"'),
        },
    ),
    ("labels that are asked for by a macro", {"x": deny('principal.labels.exists(k, k == "x")')}),
    ("a guard after what it guards", {"x": deny(f'{LABEL} && "team" in principal.labels')}),
    (
        "a guard that is denied",
        {"x": deny('!("team" in principal.labels) || principal.labels["team"] != "ml"')},
    ),
    ("a guard of a choice", {"x": deny(f'"team" in principal.labels ? {LABEL} : request.batch')}),
    (
        "a guard around two",
        {"x": deny(f'"team" in principal.labels && (request.batch || {LABEL})')},
    ),
    (
        "a guarded scope",
        {"x": limit("5", per='"team" in principal.labels ? principal.labels["team"] : ""')},
    ),
    (
        "a size that chooses the ceiling",
        {
            "w_yaml": WORKSPACE + "    allowed_models: []\n",
            "y": limit("workspace.requests_per_minute", window="minute"),
            "x": limit("request.tokens > 4000 ? 5 : 60", window="minute", per="principal.id"),
            "z": limit("workspace.monthly_budget_usd / 30.0", meter="cost"),
            "models_yaml": PRICED,
        },
    ),
    (
        "names that there are",
        {
            "x": deny("""request.batch && (role.name == "tester" || workspace.name in ["lab"] ||
        "small-latest" in model.names || "small" in model.names || model.id == "small-1" || model.family == "small" ||
        request.model == "small-latest" || key.state == "" || key.state != "unknown" || request.endpoint == "FIM" ||
        principal.id == "absent" || request.region == "eu")""")
        },
    ),
    (
        "times that there are",
        {
            "x": deny(
                "now.getDayOfWeek() == 0 || now.getHours() < 24 && now.getHours() >= 18 ||"
                "now.getDate() == 31"
            )
        },
    ),
    ("a limit of another scope", {"a": limit("5"), "b": limit("5", per="principal.id")}),
]


def warnings(path: Path) -> list[tuple[str, str]]:
    """Return the name and the text of each warning."""
    files = directory.read(path)
    entries, _ = data.read(files.data)
    tests, _ = fixtures.read(path)
    return [(p.lint, str(p)) for p in lint(files, policy_set.load(path), entries, tests)]


@pytest.mark.parametrize(("name", "files", "place", "hint"), WARNED)
def test_each_probable_mistake_has_a_warning_at_its_place(
    name: str, files: dict[str, str], place: str, hint: str, tmp_path: Path
) -> None:
    """Each warning can occur, names its place, and says what to do."""
    found = warnings(minimal(tmp_path / "p", **files))
    assert any(lint == name and place in text and hint in text for lint, text in found), found


@pytest.mark.parametrize("files", [f for _, f in NOT_WARNED], ids=[n for n, _ in NOT_WARNED])
def test_good_rules_have_no_warnings(files: dict[str, str], tmp_path: Path) -> None:
    """Good rules have no warning."""
    assert warnings(minimal(tmp_path / "p", **files)) == []


def test_the_shipped_policies_have_no_warnings() -> None:
    """The shipped policies are an example for others."""
    assert warnings(SHIPPED) == []


def test_every_warning_is_documented_and_tested() -> None:
    """docs/lints.md has a row for each, and so has the table above."""
    documented = set(re.findall(r"^\| `([\w-]+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == {name for name, *_ in WARNED} == HELP.keys()
    folder = Path(lint.__code__.co_filename).parent
    # lint.py has the help of all warnings; the files beside it raise them.
    files = [file for file in folder.glob("*.py") if file.name != "lint.py"]
    source = "".join(file.read_text() for file in files)
    assert documented == set(
        re.findall(r'"((?:no|limit|same|constant|unguarded|unit|shadowed)-[a-z-]+)"', source)
    )


def test_warnings_of_one_kind_are_bounded(tmp_path: Path) -> None:
    """Thousands of warnings of one kind are cut, and found quickly."""
    names = ", ".join(f"model-{n}" for n in range(8000))
    roles = ROLES.replace('["*"]', f"[{names}]")
    models = MODELS + "".join(f"  x{n}: {{family: f}}\n" for n in range(2000))
    allow = ALLOW_ML.replace(LABEL, '"a" in role.allowed_models')
    found = warnings(minimal(tmp_path / "p", roles_yaml=roles, models_yaml=models, allow_all=allow))
    texts = [text for name, text in found if name == "no-such-model"]
    assert len(texts) == MAX_WARNINGS + 1
    assert sum("there are more warnings of this kind" in text for text in texts) == 1


def test_lints_of_rules_full_of_empty_lines_end(tmp_path: Path) -> None:
    """Lints of rules that load in time also end in time."""
    many = {f"r_{n}": deny("\n" * 16_000 + f"request.tokens > {n}") for n in range(20)}
    path = minimal(tmp_path / "p", **many)
    files = directory.read(path)
    entries, _ = data.read(files.data)
    policy = policy_set.load(path)
    assert with_timeout(str(path), lambda: lint(files, policy, entries), 10) == []
