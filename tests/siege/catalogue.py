"""The attacks of the siege, by number."""

from support.http2_frames import FLOODS
from support.memory import limit_bytes

from sidecar.server.listener import MAX_REQUEST_BYTES, PING_SECONDS
from sidecar.server.service import MAX_STREAMS
from siege.attack import Attack
from siege.bodies import Bodies
from siege.calls import Calls
from siege.connections import Connections
from siege.denials import Denials
from siege.evaluations import Evaluations
from siege.frames import Frames, UnfinishedRequests
from siege.http_requests import HttpRequests
from siege.messages import Messages
from siege.policy_files import PolicyFiles
from siege.streams import Streams
from siege.tokens import Tokens

_ENVOY = "tests/server/envoy/test_ext_authz.py"
_HTTP = "tests/server/authzen/test_hostile_http.py"
_TOKENS = "tests/server/test_tokens.py"
MEMORY = f"{limit_bytes() >> 20} MiB, as in its manifest"

ATTACKS = (
    Attack(
        1,
        "odd texts in claims and certificates",
        "NUL, control and invisible characters and half surrogates, in each place of a claim, "
        "a certificate, a request and a data file, for both evaluators",
        (
            "tests/policy/test_odd_texts.py",
            "tests/policy/test_claims.py::test_a_claim_with_a_nul_proves_nothing",
            "tests/server/test_certificates.py::test_a_certificate_with_a_doubtful_name_proves_nothing",
            "tests/server/test_bad_input.py::test_an_odd_text_is_refused_or_is_another_name",
        ),
        (Tokens,),
    ),
    Attack(
        2,
        "a claim that yields nothing",
        "tokens that lack a configured claim, have it empty, or match no case of its "
        "expression; --unproven deny and allow",
        (
            f"{_TOKENS}::test_a_claim_that_yields_nothing_denies",
            f"{_TOKENS}::test_the_apps_own_word_has_to_be_allowed",
            f"{_TOKENS}::test_unproven_is_about_claims",
        ),
    ),
    Attack(
        3,
        "requests to Mistral that their bytes do not bound",
        "tools, agents, options, annotations, nested contents, and keys that are repeated or "
        "in another case; the test vectors of all clients",
        (
            f"{_ENVOY}::test_what_mistral_adds_or_runs_is_refused",
            f"{_ENVOY}::test_a_message_that_bytes_do_not_bound_is_refused",
            f"{_ENVOY}::test_a_body_that_two_could_read_apart_is_refused",
            f"{_ENVOY}::test_envoys_bodies_are_read_as_by_the_clients",
            "tests/client/test_bounds.py::test_requests_are_read_as_by_every_other_reader",
        ),
        (Bodies,),
    ),
    Attack(
        4,
        "memory before a caller is known",
        "1,000 calls on one connection, then 60 on each of 24, each lacking the last byte of "
        f"{MAX_REQUEST_BYTES:,}, on three RPCs; the sidecar has {MEMORY}",
        (
            "tests/server/test_memory.py::test_requests_that_never_end_leave_memory_and_time_for_others",
            "tests/server/test_memory.py::test_a_request_that_never_ends_is_refused_in_time",
            f"{_TOKENS}::test_no_request_is_read_before_its_caller_is_known",
        ),
        (UnfinishedRequests,),
    ),
    Attack(
        5,
        "floods below gRPC",
        f"{len(FLOODS)} kinds of frames without a pause on 4 connections; calls begun and "
        "taken back without a pause on 4 and 8, by TCP and on a Unix socket; the sidecar has "
        f"{MEMORY}",
        (
            "tests/server/test_memory.py::test_a_flood_of_frames_leaves_memory_and_time_for_others",
            "tests/server/test_memory.py::test_peers_that_take_back_every_call_are_disconnected_and_leave_memory",
        ),
        (Frames, Calls),
    ),
    Attack(
        6,
        "a caller that is denied everything",
        "1,500 denied calls with the longest names around 40 allowed ones, with --max-denials "
        "200; denials of one caller without a pause; a disk of 12 MiB that gets full, with a "
        "restart and without",
        (
            "tests/server/test_denied_caller.py::test_a_caller_that_is_denied_everything_takes_a_bounded_part_of_the_disk",
            f"{_TOKENS}::test_a_caller_that_is_always_denied_does_not_fill_the_disk",
            "tests/server/test_full_disk.py::test_a_full_disk_has_room_for_settlements_releases_and_prunings",
        ),
        (Denials,),
    ),
    Attack(
        7,
        "request ids of others",
        "ids and holds of a caller used by another, by principal, by workspace and by token, "
        "with the same content and with another",
        (
            "tests/ledger/test_promises.py::test_l3_a_request_id_belongs_to_its_caller",
            "tests/ledger/test_promises.py::test_l3_a_proven_owner_keeps_its_request_ids_in_every_workspace",
            f"{_TOKENS}::test_a_caller_gets_no_response_and_closes_no_hold_of_another",
        ),
    ),
    Attack(
        8,
        "streams of one caller",
        f"more streams than the {MAX_STREAMS} that there are: idle, unread, and of tokens that "
        "end meanwhile",
        (
            f"{_TOKENS}::test_streams_of_one_caller_leave_others_theirs",
            f"{_TOKENS}::test_an_idle_stream_ends_with_its_token",
            f"{_TOKENS}::test_a_stream_does_not_outlive_its_token",
            "tests/server/test_bounds.py::test_idle_streams_do_not_block_other_calls",
            "tests/server/test_bounds.py::test_an_idle_stream_makes_room_where_all_places_are_taken",
            "tests/server/test_bounds.py::test_a_stream_whose_responses_are_not_read_leaves_its_place",
        ),
        (Streams,),
    ),
    Attack(
        9,
        "silent and slow connections",
        "up to 100 connections on each listener: silent, with half a request, a byte at a "
        "time, never reading",
        (
            "tests/telemetry/test_health.py::test_idle_connections_do_not_block_probes",
            "tests/telemetry/test_health.py::test_endless_calls_do_not_block_probes",
            "tests/telemetry/test_metrics_listener.py::test_a_hundred_idle_connections_do_not_block_a_scraper",
            "tests/telemetry/test_metrics_listener.py::test_a_scraper_that_never_reads_is_disconnected",
            f"{_HTTP}::test_slow_clients_do_not_block_others",
            "tests/server/test_bounds.py::test_silent_connections_make_room_where_a_listener_is_full",
            "tests/server/test_bounds.py::test_connections_that_are_too_many_are_closed",
            "tests/server/test_bounds.py::test_a_connection_without_a_handshake_in_time_is_closed",
            "tests/server/test_bounds.py::test_no_connection_makes_room_that_no_other_waits_for",
            "tests/telemetry/test_health.py::test_watches_are_bounded",
            "tests/telemetry/test_metrics_listener.py::test_a_scraper_that_sends_a_byte_at_a_time_is_disconnected",
        ),
        (Connections,),
    ),
    Attack(
        10,
        "names that are markup or control codes",
        "names with markup, links, terminal codes, HTML and invisible characters, in "
        "policies, ledger and answers, for every command",
        (
            "tests/cli/test_hostile_names.py",
            "tests/reports/test_page.py::test_a_hostile_name_is_shown_and_never_becomes_part_of_the_page",
            "tests/telemetry/test_metrics.py::test_a_scope_of_any_characters_is_one_label",
        ),
    ),
    Attack(
        11,
        "HTTP on every listener",
        "every HTTP listener: lines, headers and bodies drawn at random, HEAD with a body, "
        "lengths that contradict each other",
        (
            "tests/server/test_http_listeners.py",
            f"{_HTTP}::test_invalid_http_gets_an_error_or_no_response",
        ),
        (HttpRequests, Evaluations),
    ),
    Attack(
        12,
        "amounts beyond any call",
        "10^9 pages in a Settle and other counts beyond their bounds; settlements up to the "
        "end of 64 bits",
        (
            "tests/server/test_usage.py::test_a_usage_beyond_any_call_is_refused_and_the_hold_stays",
            "tests/server/test_usage.py::test_a_refused_usage_raises_an_alert",
            "tests/ledger/test_saturation.py",
            "tests/ledger/test_alerts.py::test_a_usage_of_many_times_its_hold_raises_an_alert_by_its_order_of_magnitude",
            "tests/server/test_bad_input.py::test_the_largest_numbers_that_are_let_in_do_not_overflow",
        ),
        (Messages,),
    ),
    Attack(
        13,
        "files, names and headers that only look right",
        "links in the place of the lock, ids of keys that are paths, files that other users "
        "can read, endless and deep JSON, addresses that are taken, policy files of odd "
        "bytes, doubtful lengths in HTTP",
        (
            "tests/ledger/test_ledger_file.py::test_the_lock_of_a_ledger_follows_no_link_and_overwrites_nothing",
            "tests/ledger/test_ledger_file.py::test_a_new_ledger_is_for_its_owner_alone",
            "tests/keys/test_sinks.py::test_a_keys_id_cannot_change_the_path_of_the_sink",
            "tests/keys/test_mistral.py::test_an_invalid_list_is_an_error_not_an_empty_list",
            "tests/cli/test_keys.py::test_a_pepper_that_every_user_can_read_is_used_with_a_warning",
            "tests/server/test_bad_input.py::test_a_malformed_field_is_named_and_changes_nothing",
            "tests/server/authzen/test_authzen.py::test_an_address_that_is_taken_is_said_plainly",
            "tests/policy/test_hostile_files.py",
            f"{_HTTP}::test_a_request_whose_end_is_not_plain_is_refused",
        ),
        (PolicyFiles,),
    ),
    Attack(
        14,
        "a reader that stays open, and a full disk",
        "disks of 12 to 16 MiB, filled by calls, by another program and by a reader that "
        "stays; killed while full, and restarted",
        (
            "tests/server/test_full_disk.py",
            "tests/runtime/test_disk_watch.py",
            "tests/ledger/test_backup.py::test_a_slow_reader_of_an_export_does_not_keep_the_ledger_open",
            "tests/ledger/test_backup.py::test_a_long_read_ends_itself_when_the_disk_gets_full",
            "tests/server/test_load_and_crashes.py::test_a_full_disk_is_unavailable_while_it_lasts",
        ),
    ),
    Attack(
        15,
        "a backup of a busy ledger",
        "a commit of another connection at every step of the copy; SIGTERM at two moments; a "
        "disk without room",
        (
            "tests/ledger/test_backup.py::test_a_backup_of_a_busy_ledger_takes_no_more_steps_than_one_of_an_idle_ledger",
            "tests/ledger/test_backup.py::test_a_backup_is_one_file_that_a_read_only_disk_can_hold",
            "tests/ledger/test_backup.py::test_a_backup_that_gets_a_signal_leaves_nothing",
            "tests/ledger/test_backup.py::test_a_backup_without_room_leaves_nothing",
        ),
    ),
    Attack(
        16,
        "a disk that hangs",
        "fsync that does not return, under calls, during a start and during a stop",
        ("tests/runtime/test_hanging_disk.py",),
    ),
    Attack(
        17,
        "a ledger that is moved or deleted",
        "ledger, WAL or lock moved, deleted, emptied or replaced, a link that names another "
        "file; markers that name another ledger or are none",
        ("tests/runtime/test_lost_ledger.py",),
    ),
    Attack(
        18,
        "a clock that jumps",
        "a clock a year ahead while it serves, two months ahead at a start, and set back; "
        "corrections of the ledger's time at random",
        ("tests/runtime/test_faulty_clock.py", "tests/ledger/test_time_correction.py"),
    ),
    Attack(
        19,
        "certificates and keys that end",
        "a certificate that ends in 3 s, a client CA in 5 s, a JWKS that was never there, and "
        "one that is gone for more than a day",
        (
            "tests/identity/test_expiry.py",
            "tests/identity/test_jwks.py::test_the_last_keys_stay_valid_for_a_day_while_the_jwks_is_down",
        ),
    ),
    Attack(
        20,
        "signals and orphans of process 1",
        "SIGTERM before the command has read its settings, and alert commands that leave "
        "children, in a PID namespace of its own",
        ("tests/runtime/test_process_one.py",),
    ),
    Attack(
        21,
        "pings at the documented interval",
        f"4 pings, {PING_SECONDS} s apart, without a call; 100 pings at once",
        (
            "tests/server/test_bounds.py::test_pings_at_the_documented_interval_keep_a_connection_without_calls",
            "tests/server/test_bounds.py::test_a_peer_that_pings_constantly_is_disconnected",
        ),
    ),
    Attack(
        22,
        "a ledger that grows",
        "200 decisions and 200 denials each, with usual and with the longest names, against "
        "docs/deploy.md; prunings; compaction with and without room",
        ("tests/ledger/test_file_size.py",),
    ),
    Attack(
        23,
        "two connections that checkpoint",
        "a second connection that commits 8 MB, twice what SQLite checkpoints by itself",
        ("tests/ledger/test_ledger_file.py::test_a_second_writer_leaves_checkpoints_to_the_first",),
    ),
    Attack(
        24,
        "long paths, upgrades without room, and floods of alerts",
        "socket paths above 108 bytes; upgrades killed half way, and on a disk without room; "
        "500 alerts of one rule at once",
        (
            "tests/server/authzen/test_authzen.py::test_an_address_that_is_taken_is_said_plainly",
            "tests/ledger/test_upgrades.py::test_an_upgrade_without_room_says_so_and_loses_nothing",
            "tests/ledger/test_upgrades.py::test_an_upgrade_that_is_killed_half_way_begins_anew",
            "tests/alerts/test_summaries.py",
        ),
    ),
)
