BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'spend-ledger','0001_first_ledger','2026-11-24 13:31:50.342309+00:00');
CREATE TABLE budgets (
  id INTEGER PRIMARY KEY,
  rule TEXT NOT NULL,
  window TEXT NOT NULL,
  meter TEXT NOT NULL,
  scope TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  ceiling INTEGER,
  spent INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  UNIQUE (rule, window, meter, scope, window_start_us)
) STRICT;
INSERT INTO "budgets" VALUES(1,'hourly-spending-guard','hour','cost','organization',1795525200000000,1795528800000000,10000000000,366000,150000);
INSERT INTO "budgets" VALUES(2,'role-daily-tokens','day','tokens','ada',1795478400000000,1795564800000000,500000,820,200);
INSERT INTO "budgets" VALUES(3,'workspace-monthly-budget','month','cost','dev-workspace',1793491200000000,1796083200000000,50000000000,366000,75000);
INSERT INTO "budgets" VALUES(4,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527110000000,1795527170502286,60,3,1);
INSERT INTO "budgets" VALUES(5,'role-daily-tokens','day','tokens','Zoë',1795478400000000,1795564800000000,NULL,0,200);
INSERT INTO "budgets" VALUES(6,'workspace-monthly-budget','month','cost','ml-workspace',1793491200000000,1796083200000000,500000000000,0,75000);
INSERT INTO "budgets" VALUES(7,'workspace-requests-per-minute','minute','requests','ml-workspace',1795527110000000,1795527170504138,200,0,1);
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  request_id TEXT UNIQUE,
  fingerprint BLOB NOT NULL,
  decided_at_us INTEGER NOT NULL,
  effect TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
  principal TEXT NOT NULL,
  role TEXT NOT NULL,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  model_requested TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  max_output_tokens INTEGER NOT NULL,
  reasons TEXT NOT NULL,
  shadow_reasons TEXT NOT NULL,
  budgets TEXT NOT NULL,
  retry_after_us INTEGER NOT NULL,
  policy_set INTEGER NOT NULL REFERENCES policy_sets (id),
  policy_generation INTEGER NOT NULL
) STRICT;
INSERT INTO "decisions" VALUES(1,'dec_01a20dc16ee0bc6eed3b2cc85325b44a','settled',X'7AB5289967C3F28A0E578EC8F9E720061CA643B3586B5F4625756D98272DF121',1795527110368257,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,0,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,0,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,0,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527050368257,1795527110368257,60,0,1]]',0,1,1);
INSERT INTO "decisions" VALUES(2,'dec_01a20dc16f4a6db5a1b4be071fde2183','overrun',X'F85818E9FA35CD50188528FEBC81CB718FBAD6AD0EC0D6CE818BC945C377DA57',1795527110474297,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,37500,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,130,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,37500,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527050474297,1795527110474297,60,1,1]]',0,1,1);
INSERT INTO "decisions" VALUES(3,'dec_01a20dc16f52be48f1d46b7151c57c0f','released',X'A42AE29F7BA553EBE859452D3C39D47FABD3BC8C19CD8BCE130806A9A3D21F0E',1795527110482112,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527050482112,1795527110482112,60,2,1]]',0,1,1);
INSERT INTO "decisions" VALUES(4,'dec_01a20dc16f5a29054eb472b4f92ab96d','expired',X'2FCE39B2A20152C3D65CCF09DE896D6352A014EAB6A9ED7B61393756D261C804',1795527110490092,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527050490092,1795527110490092,60,2,1]]',0,1,1);
INSERT INTO "decisions" VALUES(5,'dec_01a20dc16f5e81e8c4ec452a4868e147','denied',X'5DA9276CEBE61DA4E00609DB9C7B6E12E10A9C3AA7900F1D534186E797BF3948',1795527110494097,'deny','ada','analyst','dev-workspace','','mistral-large-latest','mistral-large-2512','CHAT',0,'[{"code":"MODEL_NOT_ALLOWED","message":"role analyst may not call mistral-large-latest","rule":"role-models","http_status":403},{"code":"MODEL_NOT_ALLOWED","message":"workspace dev-workspace may not call mistral-large-latest","rule":"workspace-models","http_status":403}]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,100000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527050494097,1795527110494097,60,2,1]]',0,1,1);
INSERT INTO "decisions" VALUES(6,'dec_01a20dc16f660ba76242bd4c8c97fb94','open',X'8CABC4F96EDD7ED3641D0E3489352B506B4E4BD5E4E4252391412BEF7F8A5D65',1795527110502286,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,150000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,400],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527050502286,1795527110502286,60,2,2]]',0,1,1);
INSERT INTO "decisions" VALUES(7,'dec_01a20dc16f681370cc377121ad9107cb','unlimited',X'12D715F36E88ED86C95722FE4E7AD363C47CC0362102E825BCD14B292B1221A4',1795527110504138,'allow','Zoë','admin','ml-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,225000],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,200],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,0,75000],["workspace-requests-per-minute","requests","ml-workspace",1795527050504138,1795527110504138,200,0,1]]',0,1,1);
CREATE TABLE hold_amounts (
  hold INTEGER NOT NULL REFERENCES holds (id),
  budget INTEGER NOT NULL REFERENCES budgets (id),
  held INTEGER NOT NULL,
  charged INTEGER NOT NULL DEFAULT 0,
  charge_on_expiry INTEGER NOT NULL,
  PRIMARY KEY (hold, budget)
) STRICT, WITHOUT ROWID;
INSERT INTO "hold_amounts" VALUES(1,1,75000,37500,1);
INSERT INTO "hold_amounts" VALUES(1,2,200,130,1);
INSERT INTO "hold_amounts" VALUES(1,3,75000,37500,1);
INSERT INTO "hold_amounts" VALUES(1,4,1,1,1);
INSERT INTO "hold_amounts" VALUES(2,1,75000,253500,1);
INSERT INTO "hold_amounts" VALUES(2,2,200,490,1);
INSERT INTO "hold_amounts" VALUES(2,3,75000,253500,1);
INSERT INTO "hold_amounts" VALUES(2,4,1,1,1);
INSERT INTO "hold_amounts" VALUES(3,1,75000,0,1);
INSERT INTO "hold_amounts" VALUES(3,2,200,0,1);
INSERT INTO "hold_amounts" VALUES(3,3,75000,0,1);
INSERT INTO "hold_amounts" VALUES(3,4,1,0,1);
INSERT INTO "hold_amounts" VALUES(4,1,75000,75000,1);
INSERT INTO "hold_amounts" VALUES(4,2,200,200,1);
INSERT INTO "hold_amounts" VALUES(4,3,75000,75000,1);
INSERT INTO "hold_amounts" VALUES(4,4,1,1,1);
INSERT INTO "hold_amounts" VALUES(6,1,75000,0,1);
INSERT INTO "hold_amounts" VALUES(6,2,200,0,1);
INSERT INTO "hold_amounts" VALUES(6,3,75000,0,1);
INSERT INTO "hold_amounts" VALUES(6,4,1,0,1);
INSERT INTO "hold_amounts" VALUES(7,1,75000,0,1);
INSERT INTO "hold_amounts" VALUES(7,5,200,0,1);
INSERT INTO "hold_amounts" VALUES(7,6,75000,0,1);
INSERT INTO "hold_amounts" VALUES(7,7,1,0,1);
CREATE TABLE holds (
  id INTEGER PRIMARY KEY REFERENCES decisions (id),
  hold_id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released', 'expired')),
  expires_at_us INTEGER NOT NULL,
  closed_at_us INTEGER,
  price INTEGER REFERENCES prices (id),
  service_tier TEXT NOT NULL,
  batch INTEGER NOT NULL,
  region TEXT NOT NULL,
  held_input_tokens INTEGER NOT NULL,
  held_output_tokens INTEGER NOT NULL,
  held_pages INTEGER NOT NULL,
  held_audio_seconds INTEGER NOT NULL,
  held_cost_nano_usd INTEGER NOT NULL,
  charged_input_tokens INTEGER NOT NULL DEFAULT 0,
  charged_output_tokens INTEGER NOT NULL DEFAULT 0,
  charged_cached_input_tokens INTEGER NOT NULL DEFAULT 0,
  charged_pages INTEGER NOT NULL DEFAULT 0,
  charged_audio_seconds INTEGER NOT NULL DEFAULT 0,
  charged_cost_nano_usd INTEGER NOT NULL DEFAULT 0,
  overrun INTEGER NOT NULL DEFAULT 0,
  outcome TEXT NOT NULL DEFAULT '',
  response_model TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "holds" VALUES(1,'hold_01a20dc16ee0bc6eed3b2cc85325b44a','settled',1795527710368257,1795527110469493,1,'',0,'',100,100,0,0,75000,90,40,0,0,0,37500,0,'unspecified','mistral-small-latest');
INSERT INTO "holds" VALUES(2,'hold_01a20dc16f4a6db5a1b4be071fde2183','settled',1795527710474297,1795527110478546,1,'',0,'',100,100,0,0,75000,90,400,0,0,0,253500,1,'unspecified','mistral-small-latest');
INSERT INTO "holds" VALUES(3,'hold_01a20dc16f52be48f1d46b7151c57c0f','released',1795527710482112,1795527110486053,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'not sent','');
INSERT INTO "holds" VALUES(4,'hold_01a20dc16f5a29054eb472b4f92ab96d','expired',1795527111490092,1795527112356256,1,'',0,'',100,100,0,0,75000,100,100,0,0,0,75000,0,'unknown','');
INSERT INTO "holds" VALUES(6,'hold_01a20dc16f660ba76242bd4c8c97fb94','open',1795530710502286,NULL,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','');
INSERT INTO "holds" VALUES(7,'hold_01a20dc16f681370cc377121ad9107cb','open',1795527710504138,NULL,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','');
CREATE TABLE policy_sets (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "policy_sets" VALUES(1,'6c20802cde6534914dbdbed263c7df9be0637b4926323ea40ba513082c1038c5');
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  price_id TEXT NOT NULL,
  content TEXT NOT NULL,
  UNIQUE (price_id, content)
) STRICT;
INSERT INTO "prices" VALUES(1,'mistral-small-2603@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":150000000,"output_nano_usd_per_million":600000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX holds_open ON holds (expires_at_us) WHERE state = 'open';
CREATE INDEX hold_amounts_by_budget ON hold_amounts (budget);
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  request_id
FROM decisions ORDER BY id;
CREATE VIEW open_holds AS
SELECT hold_id, datetime(expires_at_us / 1000000, 'unixepoch') AS expires_at_utc, principal,
  workspace, model, held_input_tokens + held_output_tokens AS held_tokens,
  printf('$%d.%09d', held_cost_nano_usd / 1000000000, held_cost_nano_usd % 1000000000)
    AS held_cost_usd
FROM holds JOIN decisions USING (id) WHERE state = 'open' ORDER BY expires_at_us;
CREATE VIEW spend_by_team_model_day AS
SELECT date(decided_at_us / 1000000, 'unixepoch') AS day_utc, workspace, role, model,
  count(*) AS calls, sum(charged_input_tokens) AS input_tokens,
  sum(charged_output_tokens) AS output_tokens,
  printf('$%d.%09d', sum(charged_cost_nano_usd) / 1000000000,
    sum(charged_cost_nano_usd) % 1000000000) AS cost_usd, sum(overrun) AS overruns
FROM holds JOIN decisions USING (id) WHERE state IN ('settled', 'expired')
GROUP BY 1, 2, 3, 4;
CREATE VIEW budgets_by_window AS
SELECT rule, scope, window, meter, datetime(window_start_us / 1000000, 'unixepoch') AS from_utc,
  CASE WHEN window <> 'concurrent' THEN datetime(window_end_us / 1000000, 'unixepoch') END
    AS until_utc,
  ceiling, spent, held, ceiling - spent - held AS remaining
FROM budgets ORDER BY rule, scope, window_start_us;
COMMIT;
