-- Takes out of spend what no budget was charged, and adds the origin of alerts.

-- What all limits of a meter released of an expired hold is not spend: the charged_ columns
-- are what budgets were charged.
CREATE TEMP VIEW expired_by_meter AS
SELECT a.hold, b.meter, max(a.charge_on_expiry) AS charged
FROM hold_amounts a JOIN budgets b ON b.id = a.budget JOIN holds h ON h.id = a.hold
WHERE h.state = 'expired' AND b.window <> 'concurrent' GROUP BY a.hold, b.meter;
UPDATE holds SET charged_input_tokens = 0, charged_output_tokens = 0,
  charged_cached_input_tokens = 0
WHERE id IN (SELECT hold FROM expired_by_meter WHERE meter = 'tokens' AND charged = 0)
  OR id IN (SELECT hold FROM expired_by_meter WHERE meter = 'cost' AND charged = 0)
    AND id NOT IN (SELECT hold FROM expired_by_meter WHERE meter = 'tokens');
UPDATE holds SET charged_pages = 0, charged_audio_seconds = 0, charged_characters = 0,
  charged_annotated_pages = 0, charged_tool_calls = '', charged_cost_nano_usd = 0
WHERE id IN (SELECT hold FROM expired_by_meter WHERE meter = 'cost' AND charged = 0);
DROP VIEW expired_by_meter;

DROP VIEW spend_by_team_model_day;
CREATE VIEW spend_by_team_model_day AS
SELECT day_utc, workspace, role, model, calls, input_tokens, output_tokens,
  printf('$%d.%09d', cost / 1000000000, cost % 1000000000) AS cost_usd, overruns,
  printf('$%d.%09d', unknown / 1000000000, unknown % 1000000000) AS unknown_outcome_usd
FROM (
  SELECT date(decided_at_us / 1000000, 'unixepoch') AS day_utc, workspace, role, model,
    count(*) AS calls, sum(charged_input_tokens) AS input_tokens,
    sum(charged_output_tokens) AS output_tokens, sum(charged_cost_nano_usd) AS cost,
    sum(overrun) AS overruns,
    sum((state = 'expired') * (held_cost_nano_usd - charged_cost_nano_usd)) AS unknown
  FROM holds JOIN decisions USING (id) WHERE state IN ('settled', 'expired')
  GROUP BY 1, 2, 3, 4
);

-- The sidecar that raised an alert, its share of every ceiling, and the undivided ceiling.
ALTER TABLE alerts ADD COLUMN instance TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN undivided_ceiling INTEGER;
