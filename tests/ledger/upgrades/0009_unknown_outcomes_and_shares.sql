BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'spend-ledger','0001_first_ledger','2026-11-24 13:32:00.946133+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'spend-ledger','0002_chain_and_adjustments','2026-11-24 13:32:00.949847+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'spend-ledger','0003_alerts','2026-11-24 13:32:00.953654+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'spend-ledger','0004_keys','2026-11-24 15:00:20.720035+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'spend-ledger','0005_key_usage','2026-11-24 15:00:20.724429+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'spend-ledger','0006_alerts_of_keys','2026-11-24 17:23:41.028416+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'spend-ledger','0007_units','2026-11-27 00:16:52.102634+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'spend-ledger','0008_unrecognized_usage','2026-11-27 00:36:11.870116+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'spend-ledger','0009_unknown_outcomes_and_shares','2026-11-27 01:11:39.636619+00:00');
CREATE TABLE adjustments (
  id INTEGER PRIMARY KEY,
  adjusted_at_us INTEGER NOT NULL,
  budget INTEGER NOT NULL REFERENCES budgets (id),
  amount INTEGER NOT NULL,
  signed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;
CREATE TABLE alert_deliveries (
  alert INTEGER NOT NULL REFERENCES alerts (id),
  channel TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at_us INTEGER NOT NULL DEFAULT 0,
  delivered_at_us INTEGER,
  last_error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (alert, channel)
) STRICT, WITHOUT ROWID;
INSERT INTO "alert_deliveries" VALUES(1,'log',1,1795527123010173,1795527121010202,'');
INSERT INTO "alert_deliveries" VALUES(2,'log',1,1795527124971197,1795527122971225,'');
INSERT INTO "alert_deliveries" VALUES(3,'log',0,0,NULL,'');
INSERT INTO "alert_deliveries" VALUES(4,'log',0,0,NULL,'');
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('threshold', 'overrun', 'expired', 'burn', 'key_in_use')),
  raised_at_us INTEGER NOT NULL,
  rule TEXT NOT NULL,
  scope TEXT NOT NULL,
  meter TEXT NOT NULL,
  window TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  percent INTEGER NOT NULL,
  ceiling INTEGER,
  spent INTEGER NOT NULL,
  held INTEGER NOT NULL,
  usual INTEGER,
  shadow INTEGER NOT NULL, instance TEXT NOT NULL DEFAULT '', share TEXT NOT NULL DEFAULT '', undivided_ceiling INTEGER,
  UNIQUE (kind, rule, window, scope, window_start_us, percent)
) STRICT;
INSERT INTO "alerts" VALUES(1,'alert_01a20dc1986a3bcaca11b89f4bd0b3c7','overrun',1795527121002708,'','dev-workspace','cost','hour',1795525200000000,1795528800000000,0,NULL,253500,75000,NULL,0,'','',NULL);
INSERT INTO "alerts" VALUES(2,'alert_01a20dc1a01990a00a7462ad84cd3da8','expired',1795527122969252,'','dev-workspace','cost','hour',1795525200000000,1795528800000000,0,NULL,75000,75000,NULL,0,'','',NULL);
INSERT INTO "alerts" VALUES(3,'alert_01a20dc1a44aad7a690290a1a4f3f594','expired',1795527124042677,'','ml-workspace','cost','hour',1795525200000000,1795528800000000,0,NULL,16000000,16000000,NULL,0,'','',NULL);
INSERT INTO "alerts" VALUES(4,'alert_01a20dc1a44ac00ab82a9f921c004ede','expired',1795527124042679,'','lab','cost','hour',1795525200000000,1795528800000000,0,NULL,0,100000,NULL,0,'','1/1',NULL);
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
INSERT INTO "budgets" VALUES(1,'hourly-spending-guard','hour','cost','organization',1795525200000000,1795528800000000,10000000000,116520000,30450000);
INSERT INTO "budgets" VALUES(2,'role-daily-tokens','day','tokens','ada',1795478400000000,1795564800000000,500000,820,200);
INSERT INTO "budgets" VALUES(3,'workspace-monthly-budget','month','cost','dev-workspace',1793491200000000,1796083200000000,50000000000,366000,75000);
INSERT INTO "budgets" VALUES(4,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527120000000,1795527180998464,60,2,0);
INSERT INTO "budgets" VALUES(5,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527121000000,1795527181034186,60,1,1);
INSERT INTO "budgets" VALUES(6,'role-daily-tokens','day','tokens','Zoë',1795478400000000,1795564800000000,NULL,130,400);
INSERT INTO "budgets" VALUES(7,'workspace-monthly-budget','month','cost','ml-workspace',1793491200000000,1796083200000000,500000000000,116154000,30375000);
INSERT INTO "budgets" VALUES(8,'workspace-requests-per-minute','minute','requests','ml-workspace',1795527121000000,1795527181042677,200,0,1);
INSERT INTO "budgets" VALUES(9,'key-requests-per-minute','minute','requests','',1795527122000000,1795527182042677,NULL,3,0);
INSERT INTO "budgets" VALUES(10,'workspace-requests-per-minute','minute','requests','ml-workspace',1795527122000000,1795527182042677,200,3,0);
INSERT INTO "budgets" VALUES(11,'key-requests-per-minute','minute','requests','',1795527124000000,1795527184042677,NULL,0,1);
INSERT INTO "budgets" VALUES(12,'workspace-requests-per-minute','minute','requests','ml-workspace',1795527124000000,1795527184042677,200,0,1);
INSERT INTO "budgets" VALUES(13,'trial-cost','month','cost','lab',1793491200000000,1796083200000000,1000000000,0,0);
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
, chain BLOB NOT NULL DEFAULT x'') STRICT;
INSERT INTO "decisions" VALUES(1,'dec_01a20dc1984b05c1a084df08a7f9adfe','settled',X'7AB5289967C3F28A0E578EC8F9E720061CA643B3586B5F4625756D98272DF121',1795527120971816,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,0,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,0,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,0,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527060971816,1795527120971816,60,0,1]]',0,1,1,X'65A62465E67F390BF52348A8FF5CE1DA8957379200FC18244E004D4FF6A005BD');
INSERT INTO "decisions" VALUES(2,'dec_01a20dc19866e08404d03a5d33d92f2e','overrun',X'F85818E9FA35CD50188528FEBC81CB718FBAD6AD0EC0D6CE818BC945C377DA57',1795527120998464,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,37500,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,130,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,37500,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527060998464,1795527120998464,60,1,1]]',0,1,1,X'C93F675534BD216C48DC60BE02A055C4D51217A2A9952DC2A5C7D4420A885BB6');
INSERT INTO "decisions" VALUES(3,'dec_01a20dc19873fd87d0fa01e6911e4998','released',X'A42AE29F7BA553EBE859452D3C39D47FABD3BC8C19CD8BCE130806A9A3D21F0E',1795527121011916,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061011916,1795527121011916,60,2,1]]',0,1,1,X'D37CFA5FD4A994277E92242A55BA06B1A3FDEDDD336E670EAB27074133C71431');
INSERT INTO "decisions" VALUES(4,'dec_01a20dc1987d79edb4c66b4513395b9a','expired',X'2FCE39B2A20152C3D65CCF09DE896D6352A014EAB6A9ED7B61393756D261C804',1795527121021705,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061021705,1795527121021705,60,2,1]]',0,1,1,X'AD22AA3C73277D631C34B7393A6054D78F13DE04420DFF6D1A5709ED3C9D52C5');
INSERT INTO "decisions" VALUES(5,'dec_01a20dc198861d9d9649013c63931dc9','denied',X'5DA9276CEBE61DA4E00609DB9C7B6E12E10A9C3AA7900F1D534186E797BF3948',1795527121030319,'deny','ada','analyst','dev-workspace','','mistral-large-latest','mistral-large-2512','CHAT',0,'[{"code":"MODEL_NOT_ALLOWED","message":"role analyst may not call mistral-large-latest","rule":"role-models","http_status":403},{"code":"MODEL_NOT_ALLOWED","message":"workspace dev-workspace may not call mistral-large-latest","rule":"workspace-models","http_status":403}]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,100000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061030319,1795527121030319,60,2,1]]',0,1,1,X'8B12936859F86F1B1341436F85A351AEABCDCB5A6FD0C28759C607647EB53E2D');
INSERT INTO "decisions" VALUES(6,'dec_01a20dc1988af53d54ec3f8d85a7b25f','open',X'8CABC4F96EDD7ED3641D0E3489352B506B4E4BD5E4E4252391412BEF7F8A5D65',1795527121034186,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,150000],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,400],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527061034186,1795527121034186,60,2,2]]',0,1,1,X'18CF254A3FB41489F086B69D701C3F18A064A34004ECBE80D8BBCF0ED8D5F96B');
INSERT INTO "decisions" VALUES(7,'dec_01a20dc19892509ec2ea890d11894ffa','unlimited',X'12D715F36E88ED86C95722FE4E7AD363C47CC0362102E825BCD14B292B1221A4',1795527121042677,'allow','Zoë','admin','ml-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,225000],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,200],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,0,75000],["workspace-requests-per-minute","requests","ml-workspace",1795527061042677,1795527121042677,200,0,1]]',0,1,1,X'9D56A7F411AAB12CF87D671E3EC6D3D79F7D87F7744C2DBA28F724520CCDF09A');
INSERT INTO "decisions" VALUES(8,'dec_01a20dc19c7a36ec089ff612be125c35','annotated',X'1B5A92F1CC43EA2404847476F76FAB9F214F731C6E90A88E5013BD8CE6F0AD2B',1795527122042677,'allow','Zoë','admin','ml-workspace','','mistral-ocr-latest','mistral-ocr-4-1','OCR',0,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,366000,40150000],["key-requests-per-minute","requests","",1795527062042677,1795527122042677,null,0,1],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,200],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,0,40075000],["workspace-requests-per-minute","requests","ml-workspace",1795527062042677,1795527122042677,200,0,2]]',0,2,1,X'A40764F3AD2A849E489A803A55D6AF8456B0014F4042D86C273074C68F30970B');
INSERT INTO "decisions" VALUES(9,'dec_01a20dc19c7a3a6a02e493005f724c79','speech',X'3565DFD0236F70DB23C41066183C8BB57D5253BFC03881FFDDB4D60B88C8A4DE',1795527122042677,'allow','Zoë','admin','ml-workspace','','speech-1','speech-1','SPEECH',0,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,40366000,16150000],["key-requests-per-minute","requests","",1795527062042677,1795527122042677,null,1,1],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,200],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,40000000,16075000],["workspace-requests-per-minute","requests","ml-workspace",1795527062042677,1795527122042677,200,1,2]]',0,2,1,X'60710B985FA8A60D6C2296C02E0D758CFFDFB880D5C92EABE0883243756E5F11');
INSERT INTO "decisions" VALUES(10,'dec_01a20dc19c7ada67e549360c45a430b9','tools',X'AADE21D47A03D563FE00FDE84C22529E253196FCB735C514D83EB4DCF2B8B758',1795527122042677,'allow','Zoë','admin','ml-workspace','','tools-1','tools-1','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,40366000,106450000],["key-requests-per-minute","requests","",1795527062042677,1795527122042677,null,1,2],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,400],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,40000000,106375000],["workspace-requests-per-minute","requests","ml-workspace",1795527062042677,1795527122042677,200,1,3]]',0,2,1,X'D7AA39D0D23DB10D5895500169C52F73D6FC506F6A2135AE7B080F37096DC27A');
INSERT INTO "decisions" VALUES(11,'dec_01a20dc1a44a9dc09566d15f404d0b7f','open tools',X'5AC820F4F590FDA4EA2FACC7497936015CB77A52702876794349663431F8FC68',1795527124042677,'allow','Zoë','admin','ml-workspace','','tools-1','tools-1','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,116520000,30450000],["key-requests-per-minute","requests","",1795527064042677,1795527124042677,null,3,1],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,130,400],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,116154000,30375000],["workspace-requests-per-minute","requests","ml-workspace",1795527064042677,1795527124042677,200,3,2]]',0,2,1,X'1BADD1AD2DF84E2A60D1A37DE691A017EA69BF497C0AD0B54231490F503049D4');
INSERT INTO "decisions" VALUES(12,'dec_1','released-on-expiry',X'72656C65617365642D6F6E2D657870697279',1795527124042678,'allow','ada','tester','lab','','small-latest','small-1','CHAT',100,'[]','[]','[["trial-cost","cost","lab",1793491200000000,1796083200000000,1000000000,0,100000]]',0,3,1,X'C3D14A2BC4CFD319A32A3F04E7F72A298CD4C09F32F0DA010F2C483C41305F6D');
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
INSERT INTO "hold_amounts" VALUES(3,5,1,0,1);
INSERT INTO "hold_amounts" VALUES(4,1,75000,75000,1);
INSERT INTO "hold_amounts" VALUES(4,2,200,200,1);
INSERT INTO "hold_amounts" VALUES(4,3,75000,75000,1);
INSERT INTO "hold_amounts" VALUES(4,5,1,1,1);
INSERT INTO "hold_amounts" VALUES(6,1,75000,0,1);
INSERT INTO "hold_amounts" VALUES(6,2,200,0,1);
INSERT INTO "hold_amounts" VALUES(6,3,75000,0,1);
INSERT INTO "hold_amounts" VALUES(6,5,1,0,1);
INSERT INTO "hold_amounts" VALUES(7,1,75000,0,1);
INSERT INTO "hold_amounts" VALUES(7,6,200,0,1);
INSERT INTO "hold_amounts" VALUES(7,7,75000,0,1);
INSERT INTO "hold_amounts" VALUES(7,8,1,0,1);
INSERT INTO "hold_amounts" VALUES(8,1,40000000,40000000,1);
INSERT INTO "hold_amounts" VALUES(8,6,0,0,1);
INSERT INTO "hold_amounts" VALUES(8,7,40000000,40000000,1);
INSERT INTO "hold_amounts" VALUES(8,9,1,1,1);
INSERT INTO "hold_amounts" VALUES(8,10,1,1,1);
INSERT INTO "hold_amounts" VALUES(9,1,16000000,16000000,1);
INSERT INTO "hold_amounts" VALUES(9,6,0,0,1);
INSERT INTO "hold_amounts" VALUES(9,7,16000000,16000000,1);
INSERT INTO "hold_amounts" VALUES(9,9,1,1,1);
INSERT INTO "hold_amounts" VALUES(9,10,1,1,1);
INSERT INTO "hold_amounts" VALUES(10,1,90300000,60154000,1);
INSERT INTO "hold_amounts" VALUES(10,6,200,130,1);
INSERT INTO "hold_amounts" VALUES(10,7,90300000,60154000,1);
INSERT INTO "hold_amounts" VALUES(10,9,1,1,1);
INSERT INTO "hold_amounts" VALUES(10,10,1,1,1);
INSERT INTO "hold_amounts" VALUES(11,1,30300000,0,1);
INSERT INTO "hold_amounts" VALUES(11,6,200,0,1);
INSERT INTO "hold_amounts" VALUES(11,7,30300000,0,1);
INSERT INTO "hold_amounts" VALUES(11,11,1,0,1);
INSERT INTO "hold_amounts" VALUES(11,12,1,0,1);
INSERT INTO "hold_amounts" VALUES(12,13,100000,0,0);
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
, held_characters INTEGER NOT NULL DEFAULT 0, held_annotated_pages INTEGER NOT NULL DEFAULT 0, held_tool_calls TEXT NOT NULL DEFAULT '', charged_characters INTEGER NOT NULL DEFAULT 0, charged_annotated_pages INTEGER NOT NULL DEFAULT 0, charged_tool_calls TEXT NOT NULL DEFAULT '', unrecognized_usage INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "holds" VALUES(1,'hold_01a20dc1984b05c1a084df08a7f9adfe','settled',1795527720971816,1795527120990491,1,'',0,'',100,100,0,0,75000,90,40,0,0,0,37500,0,'unspecified','mistral-small-latest',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(2,'hold_01a20dc19866e08404d03a5d33d92f2e','settled',1795527720998464,1795527121002708,1,'',0,'',100,100,0,0,75000,90,400,0,0,0,253500,1,'unspecified','mistral-small-latest',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(3,'hold_01a20dc19873fd87d0fa01e6911e4998','released',1795527721011916,1795527121018512,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'not sent','',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(4,'hold_01a20dc1987d79edb4c66b4513395b9a','expired',1795527122021705,1795527122969252,1,'',0,'',100,100,0,0,75000,100,100,0,0,0,75000,0,'unknown','',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(6,'hold_01a20dc1988af53d54ec3f8d85a7b25f','open',1795530721034186,NULL,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(7,'hold_01a20dc19892509ec2ea890d11894ffa','open',1795527721042677,NULL,1,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0);
INSERT INTO "holds" VALUES(8,'hold_01a20dc19c7a36ec089ff612be125c35','settled',1795527722042677,1795527122042677,2,'',0,'',0,0,0,0,40000000,0,0,0,0,0,40000000,0,'ok','',0,8,'',0,8,'',0);
INSERT INTO "holds" VALUES(9,'hold_01a20dc19c7a3a6a02e493005f724c79','expired',1795527123042677,1795527124042677,3,'',0,'',0,0,0,0,16000000,0,0,0,0,0,16000000,0,'unknown','',1000,0,'',1000,0,'',0);
INSERT INTO "holds" VALUES(10,'hold_01a20dc19c7ada67e549360c45a430b9','settled',1795527722042677,1795527122042677,4,'',0,'',100,100,0,0,90300000,90,40,20,0,0,60154000,0,'ok','',0,0,'{"web_search":3}',0,0,'{"web_search":2}',0);
INSERT INTO "holds" VALUES(11,'hold_01a20dc1a44a9dc09566d15f404d0b7f','open',1795530724042677,NULL,4,'',0,'',100,100,0,0,30300000,0,0,0,0,0,0,0,'','',0,0,'{"web_search":1}',0,0,'',0);
INSERT INTO "holds" VALUES(12,'hold_1','expired',1795527124042679,1795527124042679,5,'',0,'',0,100,0,0,100000,0,0,0,0,0,0,0,'unknown','',0,0,'',0,0,'',0);
CREATE TABLE key_rotation_steps (
  id INTEGER PRIMARY KEY,
  rotation INTEGER NOT NULL REFERENCES key_rotations (id),
  at_us INTEGER NOT NULL,
  version INTEGER NOT NULL,
  stage TEXT NOT NULL,
  owner TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "key_rotation_steps" VALUES(1,1,1795527121042677,2,'creating','host/1','');
INSERT INTO "key_rotation_steps" VALUES(2,1,1795527121042677,2,'created','host/1','');
INSERT INTO "key_rotation_steps" VALUES(3,1,1795527121042677,2,'verified','host/1','');
INSERT INTO "key_rotation_steps" VALUES(4,1,1795527121042677,2,'storing','host/1','');
INSERT INTO "key_rotation_steps" VALUES(5,1,1795527121042677,2,'stored','host/1','');
INSERT INTO "key_rotation_steps" VALUES(6,1,1795527121042677,2,'switched','host/1','');
CREATE TABLE key_rotations (
  id INTEGER PRIMARY KEY,
  key_id TEXT NOT NULL,
  from_version INTEGER NOT NULL,
  to_version INTEGER NOT NULL,
  stage TEXT NOT NULL,
  stage_at_us INTEGER NOT NULL,
  started_at_us INTEGER NOT NULL,
  ended_at_us INTEGER,
  owner TEXT NOT NULL DEFAULT '',
  lease_until_us INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "key_rotations" VALUES(1,'dev-team-key',1,2,'switched',1795527121042677,1795527121042677,NULL,'',0);
CREATE TABLE key_tracking (
  key_id TEXT PRIMARY KEY,
  since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "key_tracking" VALUES('dev-team-key',1795527120971816);
CREATE TABLE key_usage_counted (
  key_id TEXT NOT NULL,
  model TEXT NOT NULL,
  effect TEXT NOT NULL,
  first_used_at_us INTEGER NOT NULL,
  last_used_at_us INTEGER NOT NULL,
  decisions INTEGER NOT NULL,
  PRIMARY KEY (key_id, model, effect)
) STRICT, WITHOUT ROWID;
CREATE TABLE key_usage_until (
  decision INTEGER NOT NULL
) STRICT;
INSERT INTO "key_usage_until" VALUES(0);
CREATE TABLE key_versions (
  id INTEGER PRIMARY KEY,
  key_id TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  name TEXT NOT NULL,
  remote_id TEXT NOT NULL DEFAULT '',
  fingerprint TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'grace', 'revoked')),
  created_at_us INTEGER,
  activated_at_us INTEGER,
  first_used_at_us INTEGER,
  last_used_at_us INTEGER,
  revoked_at_us INTEGER,
  UNIQUE (key_id, version)
) STRICT;
INSERT INTO "key_versions" VALUES(1,'dev-team-key',1,'dev-team-key','key_1','','grace',1795527121042677,1795527121042677,NULL,NULL,NULL);
INSERT INTO "key_versions" VALUES(2,'dev-team-key',2,'dev-team-key-v2-0123456789ab','key_2','abababababababababababababababababababababababababababababababab','active',1795527121042677,1795527121042677,NULL,NULL,NULL);
CREATE TABLE policy_sets (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "policy_sets" VALUES(1,'bdb978f6de191486ea83dbc08e66f3181d2dabedfef9d46d787d6d1cb560c6cb');
INSERT INTO "policy_sets" VALUES(2,'7c25c2cdc12cf6b7bd396b4a45c8d8df289ed761e5a5f2035446b1dd48ee62e1');
INSERT INTO "policy_sets" VALUES(3,'digest');
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  price_id TEXT NOT NULL,
  content TEXT NOT NULL,
  UNIQUE (price_id, content)
) STRICT;
INSERT INTO "prices" VALUES(1,'mistral-small-2603@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":150000000,"output_nano_usd_per_million":600000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
INSERT INTO "prices" VALUES(2,'mistral-ocr-4-1@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":null,"output_nano_usd_per_million":null,"page_nano_usd_per_thousand":4000000000,"audio_nano_usd_per_minute":null,"annotated_page_nano_usd_per_thousand":5000000000,"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
INSERT INTO "prices" VALUES(3,'speech-1@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":null,"output_nano_usd_per_million":null,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"character_nano_usd_per_million":16000000000,"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
INSERT INTO "prices" VALUES(4,'tools-1@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":1000000000,"output_nano_usd_per_million":2000000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"cached_input_nano_usd_per_million":200000000,"tool_call_nano_usd_per_thousand":{"web_search":30000000000},"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
INSERT INTO "prices" VALUES(5,'small-1@2020-01-01','{"effective_from_us":0,"input_nano_usd_per_million":1000000000,"output_nano_usd_per_million":1000000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"multipliers_in_thousandths":{"cached_input":100,"batch":1000,"service_tiers":{},"regions":{}}}');
CREATE TABLE pruned (
  decision INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;
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
CREATE VIEW budgets_by_window AS
SELECT rule, scope, window, meter, datetime(window_start_us / 1000000, 'unixepoch') AS from_utc,
  CASE WHEN window <> 'concurrent' THEN datetime(window_end_us / 1000000, 'unixepoch') END
    AS until_utc,
  ceiling, spent, held, ceiling - spent - held AS remaining
FROM budgets ORDER BY rule, scope, window_start_us;
CREATE INDEX adjustments_by_budget ON adjustments (budget);
CREATE VIEW adjustment_log AS
SELECT datetime(adjusted_at_us / 1000000, 'unixepoch') AS adjusted_at_utc, rule, scope, window,
  meter, amount, signed_by, reason
FROM adjustments JOIN budgets ON budgets.id = budget ORDER BY adjustments.id;
CREATE INDEX budgets_cost_by_hour ON budgets (window_start_us)
  WHERE window || ' ' || meter = 'hour cost';
CREATE UNIQUE INDEX key_versions_live ON key_versions (key_id, state) WHERE state <> 'revoked';
CREATE UNIQUE INDEX key_rotations_running ON key_rotations (key_id) WHERE ended_at_us IS NULL;
CREATE INDEX key_rotation_steps_by_rotation ON key_rotation_steps (rotation);
CREATE VIEW key_rotation_log AS
SELECT datetime(at_us / 1000000, 'unixepoch') AS at_utc, key_id, from_version, version, s.stage,
  note, s.owner, rotation
FROM key_rotation_steps s JOIN key_rotations r ON r.id = s.rotation ORDER BY s.id;
CREATE VIEW key_usage_uncounted AS
SELECT d.id AS decision, iif(v.version IS NULL, t.key_id, d.key_id) AS key_id, d.model, d.effect,
  d.decided_at_us
FROM decisions d
CROSS JOIN key_tracking t ON t.key_id = substr(d.key_id, 1, instr(d.key_id || '#', '#') - 1)
LEFT JOIN key_versions v ON v.key_id = t.key_id
  AND v.version = CAST(substr(d.key_id, length(t.key_id) + 2) AS INTEGER)
  AND d.key_id = t.key_id || '#' || v.version
WHERE d.id > (SELECT decision FROM key_usage_until);
CREATE VIEW key_usage AS
SELECT key_id, model, effect, min(first_used_at_us) AS first_used_at_us,
  max(last_used_at_us) AS last_used_at_us, sum(decisions) AS decisions
FROM (
  SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions
  FROM key_usage_counted
  UNION ALL
  SELECT key_id, model, effect, decided_at_us, decided_at_us, 1 FROM key_usage_uncounted
) GROUP BY key_id, model, effect;
CREATE INDEX alerts_by_end ON alerts (window_end_us);
CREATE INDEX alert_deliveries_owed ON alert_deliveries (channel, next_at_us)
  WHERE delivered_at_us IS NULL;
CREATE VIEW alert_log AS
SELECT datetime(raised_at_us / 1000000, 'unixepoch') AS raised_at_utc, kind, rule, scope, window,
  datetime(window_start_us / 1000000, 'unixepoch') AS from_utc, nullif(percent, 0) AS percent,
  meter, spent, held, ceiling, usual, shadow,
  (SELECT json_group_array(json_object('channel', channel, 'attempts', attempts,
      'delivered_at_utc', datetime(delivered_at_us / 1000000, 'unixepoch'),
      'last_error', last_error))
    FROM alert_deliveries WHERE alert = alerts.id) AS deliveries,
  alert_id
FROM alerts ORDER BY id;
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
COMMIT;
