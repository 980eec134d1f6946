-- What the budgets were at an allowed decision is kept as [budget, seconds, ceiling, spent, held] from
-- now on, in a third of the room: the row of the budget has the rest. The view has both forms.
CREATE VIEW decision_budgets AS
SELECT d.id AS decision, a.key AS place,
  iif(b.id IS NULL, a.value ->> 0, b.rule) AS rule,
  iif(b.id IS NULL, a.value ->> 1, b.meter) AS meter,
  iif(b.id IS NULL, a.value ->> 2, b.scope) AS scope,
  CASE WHEN b.id IS NULL THEN a.value ->> 3 WHEN b.window = 'minute' THEN d.decided_at_us - 60000000
    WHEN b.window <> 'concurrent' THEN b.window_start_us END AS window_start_us,
  CASE WHEN b.id IS NULL THEN a.value ->> 4 WHEN b.window = 'minute' THEN d.decided_at_us
    ELSE b.window_start_us + (a.value ->> 1) * 1000000 END AS window_end_us,
  iif(b.id IS NULL, a.value ->> 5, a.value ->> 2) AS ceiling,
  iif(b.id IS NULL, a.value ->> 6, a.value ->> 3) AS spent,
  iif(b.id IS NULL, a.value ->> 7, a.value ->> 4) AS held
FROM all_decisions d, json_each(d.budgets) a
LEFT JOIN budgets b ON json_array_length(a.value) = 5 AND b.id = a.value ->> 0;
