"""The test that notices a mutant which the fast tests of the ledger do not: it is tried first.

Without it the result is the same, but whole stages of slow tests run before it is reached.
"""

_SERVER = "tests/server"
_FLEET = "tests/fleet"

LIKELY: dict[str, str] = {
    "anchor-not-passed-on": (
        "tests/authorization/test_windows_of_rules.py::test_a_window_begins_where_the_header_says"
    ),
    "answered-although-it-failed": (
        f"{_SERVER}/test_load_and_crashes.py::test_a_full_disk_is_unavailable_while_it_lasts"
    ),
    "books-waited-for-without-end": f"{_FLEET}/test_alert_claims.py",
    "bound-not-passed-on": f"{_SERVER}/test_denied_caller.py",
    "cached-price-above-input": (
        "tests/policy/test_wrong_policies.py::test_wrong_data_is_reported_at_its_place"
    ),
    "claims-never-lapse": f"{_FLEET}/test_alert_claims.py",
    "clock-starts-anew": (
        "tests/runtime/test_faulty_clock.py::test_retry_times_are_by_the_systems_clock"
    ),
    "commit-does-not-wait-for-the-disk": "tests/runtime/test_hanging_disk.py",
    "every-sidecar-delivers": f"{_FLEET}/test_sidecar_alerts.py",
    "expiry-never-run": (
        f"{_SERVER}/test_contract.py::test_a_hold_that_is_not_settled_in_time_is_charged"
    ),
    "four-bytes-a-token": f"{_SERVER}/test_contract.py::test_the_whole_job",
    "keys-never-maintained": "tests/cli/test_keys.py",
    "later-prices-not-recorded": f"{_SERVER}/test_units.py",
    "preview-counts-due-holds": (
        "tests/authorization/test_explain.py::test_a_wait_for_the_end_of_a_hold_is_suggested"
    ),
    "revoked-versions-pass": "tests/cli/test_keys.py",
    "silence-is-disuse": f"{_FLEET}/test_key_rotation.py",
    "tools-not-recorded": f"{_SERVER}/test_units.py",
    "urls-in-the-log": f"{_SERVER}/test_alerts.py",
    "use-of-one-ledger": f"{_FLEET}/test_key_rotation.py",
    "zone-not-passed-on": (
        f"{_SERVER}/test_contract.py::test_l6_windows_follow_the_time_zone_that_serve_was_given"
    ),
}
"""By the name of the mutant: a file, or a test in it."""
