BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'spend-ledger','0001_first_ledger','2026-11-27 05:02:38.347163+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'spend-ledger','0002_chain_and_adjustments','2026-11-27 05:02:38.348761+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'spend-ledger','0003_alerts','2026-11-27 05:02:38.349886+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'spend-ledger','0004_keys','2026-11-27 05:02:38.351026+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'spend-ledger','0005_key_usage','2026-11-27 05:02:38.352106+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'spend-ledger','0006_alerts_of_keys','2026-11-27 05:02:38.357051+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'spend-ledger','0007_units','2026-11-27 05:02:38.364280+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'spend-ledger','0008_unrecognized_usage','2026-11-27 05:02:38.368647+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'spend-ledger','0009_unknown_outcomes_and_shares','2026-11-27 05:02:38.374985+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'spend-ledger','0010_long_windows','2026-11-27 05:02:38.382662+00:00');
INSERT INTO "_sqlite_migrations" VALUES(11,'spend-ledger','0011_retirements','2026-11-27 07:42:26.322982+00:00');
INSERT INTO "_sqlite_migrations" VALUES(12,'spend-ledger','0012_callers','2026-11-27 08:25:15.739194+00:00');
INSERT INTO "_sqlite_migrations" VALUES(13,'spend-ledger','0013_time_corrections','2026-11-27 11:04:37.429507+00:00');
INSERT INTO "_sqlite_migrations" VALUES(14,'spend-ledger','0014_ledger_id','2026-11-27 11:04:37.513999+00:00');
INSERT INTO "_sqlite_migrations" VALUES(15,'spend-ledger','0015_denials','2026-11-27 11:48:50.450749+00:00');
INSERT INTO "_sqlite_migrations" VALUES(16,'spend-ledger','0016_packed_holds','2026-11-27 14:59:47.268489+00:00');
INSERT INTO "_sqlite_migrations" VALUES(17,'spend-ledger','0017_packed_budgets','2026-11-27 17:47:40.400985+00:00');
INSERT INTO "_sqlite_migrations" VALUES(18,'spend-ledger','0018_shares','2026-11-27 21:01:58.346789+00:00');
INSERT INTO "_sqlite_migrations" VALUES(19,'spend-ledger','0019_place_in_fleet','2026-11-28 00:28:13.439665+00:00');
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
INSERT INTO "alert_deliveries" VALUES(1,'log',0,0,NULL,'');
INSERT INTO "alert_deliveries" VALUES(2,'log',0,0,NULL,'');
INSERT INTO "alert_deliveries" VALUES(3,'log',0,0,NULL,'');
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('threshold', 'overrun', 'expired', 'usage_refused', 'burn',
    'key_in_use', 'model_retires', 'model_retired')),
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
  shadow INTEGER NOT NULL,
  instance TEXT NOT NULL DEFAULT '',
  share TEXT NOT NULL DEFAULT '',
  undivided_ceiling INTEGER,
  replaced_by TEXT NOT NULL DEFAULT '',
  UNIQUE (kind, rule, window, scope, window_start_us, percent)
) STRICT;
INSERT INTO "alerts" VALUES(1,'alert_01a20dc1987c4e60f2e847f7ac110f90','overrun',1795527121020000,'','dev-workspace','cost','hour',1795525200000000,1795528800000000,0,NULL,253500,75000,NULL,0,'','1/1',NULL,'');
INSERT INTO "alerts" VALUES(2,'alert_01a20dc1a07edd301e939aefe2437ffb','expired',1795527123070000,'','dev-workspace','cost','hour',1795525200000000,1795528800000000,0,NULL,75000,75000,NULL,0,'','1/1',NULL,'');
INSERT INTO "alerts" VALUES(3,'alert_01a20dc198b8878a6eea684823e0e50e','model_retires',1795527121080000,'','old-1','requests','day',1795478400000000,1795564800000000,0,NULL,0,0,NULL,0,'','1/1',NULL,'small-1');
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
  held INTEGER NOT NULL DEFAULT 0, starts_on INTEGER NOT NULL DEFAULT 1, starts_at INTEGER NOT NULL DEFAULT 0, opening INTEGER, counted_at_us INTEGER NOT NULL DEFAULT 0, holds INTEGER NOT NULL DEFAULT 0,
  UNIQUE (rule, window, meter, scope, window_start_us)
) STRICT;
INSERT INTO "budgets" VALUES(1,'trial-cost','total','cost','lab',0,9223372036854775807,1000000000,120000,0,1,0,90000,0,1);
INSERT INTO "budgets" VALUES(2,'year-tokens','year','tokens','lab',1767225600000000,1798761600000000,1000,120,0,1,0,90,0,1);
INSERT INTO "budgets" VALUES(6,'week-cost','week','cost','lab',1795327200000000,1795932000000000,1000000000,30000,0,7,6,NULL,0,1);
INSERT INTO "budgets" VALUES(7,'hourly-spending-guard','hour','cost','organization',1795525200000000,1795528800000000,10000000000,786000,375000,1,0,NULL,1795527123100000,15);
INSERT INTO "budgets" VALUES(8,'key-requests-per-minute','minute','requests','',1795527121000000,1795527181070000,NULL,3,2,1,0,NULL,0,6);
INSERT INTO "budgets" VALUES(9,'role-daily-tokens','day','tokens','ada',1795478400000000,1795564800000000,500000,820,200,1,0,NULL,0,5);
INSERT INTO "budgets" VALUES(10,'workspace-monthly-budget','month','cost','dev-workspace',1793491200000000,1796083200000000,50000000000,786000,300000,1,0,NULL,1795527123100000,14);
INSERT INTO "budgets" VALUES(11,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527121000000,1795527181060000,60,3,1,1,0,NULL,0,5);
INSERT INTO "budgets" VALUES(12,'role-daily-tokens','day','tokens','Zoë',1795478400000000,1795564800000000,NULL,0,200,1,0,NULL,0,1);
INSERT INTO "budgets" VALUES(13,'workspace-monthly-budget','month','cost','ml-workspace',1793491200000000,1796083200000000,500000000000,0,75000,1,0,NULL,0,1);
INSERT INTO "budgets" VALUES(14,'workspace-requests-per-minute','minute','requests','ml-workspace',1795527121000000,1795527181070000,200,0,1,1,0,NULL,0,1);
INSERT INTO "budgets" VALUES(15,'key-requests-per-minute','minute','requests','',1795527122000000,1795527182100000,NULL,2,1,1,0,NULL,1795527122100000,4);
INSERT INTO "budgets" VALUES(16,'role-daily-tokens','day','tokens','bob',1795478400000000,1795564800000000,100000,880,600,1,0,NULL,1795527123100000,9);
INSERT INTO "budgets" VALUES(17,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527122000000,1795527182100000,60,2,1,1,0,NULL,1795527122100000,4);
INSERT INTO "budgets" VALUES(18,'key-requests-per-minute','minute','requests','',1795527123000000,1795527183100000,NULL,2,2,1,0,NULL,1795527123100000,5);
INSERT INTO "budgets" VALUES(19,'workspace-requests-per-minute','minute','requests','dev-workspace',1795527123000000,1795527183100000,60,2,2,1,0,NULL,1795527123100000,5);
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL,
  request_id TEXT,
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
  policy_generation INTEGER NOT NULL,
  chain BLOB NOT NULL DEFAULT x''
) STRICT;
INSERT INTO "decisions" VALUES(4,'dec_4','back-1',X'6261636B2D31',1795440721000000,'allow','ada','tester','lab','','small-latest','small-1','CHAT',100,'[]','[]','[["trial-cost","cost","lab",0,null,1000000000,90000,100000],["year-tokens","tokens","lab",1767225600000000,1798761600000000,1000,90,100],["week-cost","cost","lab",1795327200000000,1795932000000000,1000000000,0,100000]]',0,1,1,X'E71A437C7828764741178A431948A21291C184B3BD7AFFEE920AB56E82473028');
INSERT INTO "decisions" VALUES(5,'dec_01a20dc198724a9bb090a2214c2e519e','settled',X'7AB5289967C3F28A0E578EC8F9E720061CA643B3586B5F4625756D98272DF121',1795527121010000,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,0,75000],["key-requests-per-minute","requests","",1795527061010000,1795527121010000,null,0,1],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,0,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,0,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061010000,1795527121010000,60,0,1]]',0,2,1,X'C1268C8A434DE52ACCB33E9ADC04AD630D820A9519526EF0AA74F67B07EC17BE');
INSERT INTO "decisions" VALUES(6,'dec_01a20dc1987c54b7c87c905073060a15','overrun',X'F85818E9FA35CD50188528FEBC81CB718FBAD6AD0EC0D6CE818BC945C377DA57',1795527121020000,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,37500,75000],["key-requests-per-minute","requests","",1795527061020000,1795527121020000,null,1,1],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,130,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,37500,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061020000,1795527121020000,60,1,1]]',0,2,1,X'0CB13F557AC134C6A70CCF9B0903C49DB06C967FDDAD24993C2D7A0657CA8F6F');
INSERT INTO "decisions" VALUES(7,'dec_01a20dc19886ee556041638de28cf236','released',X'A42AE29F7BA553EBE859452D3C39D47FABD3BC8C19CD8BCE130806A9A3D21F0E',1795527121030000,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["key-requests-per-minute","requests","",1795527061030000,1795527121030000,null,2,1],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061030000,1795527121030000,60,2,1]]',0,2,1,X'59C79045841B2A3B53138A05EDF0946EFFB95B25481CB5543B41BF401591E282');
INSERT INTO "decisions" VALUES(8,'dec_01a20dc1989020ec91ae4723c15f7cc6','expired',X'2FCE39B2A20152C3D65CCF09DE896D6352A014EAB6A9ED7B61393756D261C804',1795527121040000,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["key-requests-per-minute","requests","",1795527061040000,1795527121040000,null,2,1],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061040000,1795527121040000,60,2,1]]',0,2,1,X'911F981437CDD6E04C550223461A1074580F14B46D74033281CF08CCFD5F9123');
INSERT INTO "decisions" VALUES(9,'dec_01a20dc1989a5bc3536d15c27bc226c4','denied',X'5DA9276CEBE61DA4E00609DB9C7B6E12E10A9C3AA7900F1D534186E797BF3948',1795527121050000,'deny','ada','analyst','dev-workspace','','mistral-large-latest','mistral-large-2512','CHAT',0,'[{"code":"MODEL_NOT_ALLOWED","message":"role analyst may not call mistral-large-latest","rule":"role-models","http_status":403},{"code":"MODEL_NOT_ALLOWED","message":"workspace dev-workspace may not call mistral-large-latest","rule":"workspace-models","http_status":403}]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,75000],["key-requests-per-minute","requests","",1795527061050000,1795527121050000,null,2,1],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,100000,620,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527061050000,1795527121050000,60,2,1]]',0,2,1,X'DEF84F584E46E93D38B3AA0A509A613FE50645DD8BD6A1520066B7C5FA3C68F0');
INSERT INTO "decisions" VALUES(10,'dec_01a20dc198a4ba69011c0ade67dc0286','open',X'8CABC4F96EDD7ED3641D0E3489352B506B4E4BD5E4E4252391412BEF7F8A5D65',1795527121060000,'allow','ada','developer','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,150000],["key-requests-per-minute","requests","",1795527061060000,1795527121060000,null,2,2],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,500000,620,400],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,291000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527061060000,1795527121060000,60,2,2]]',0,2,1,X'315353EF7FF7414420F1690F269552F48C9533C5CEB2C642A51BE64CC84F76EB');
INSERT INTO "decisions" VALUES(11,'dec_01a20dc198ae72d8007446a4ee83475e','unlimited',X'30C629704AAC6FB62D04D745488C5C49B447D6B4220B1200A6FE6C00A6732561',1795527121070000,'allow','Zoë','admin','ml-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,291000,225000],["key-requests-per-minute","requests","",1795527061070000,1795527121070000,null,2,3],["role-daily-tokens","tokens","Zoë",1795478400000000,1795564800000000,null,0,200],["workspace-monthly-budget","cost","ml-workspace",1793491200000000,1796083200000000,500000000000,0,75000],["workspace-requests-per-minute","requests","ml-workspace",1795527061070000,1795527121070000,200,0,1]]',0,2,1,X'A50E2B2271AD4E494F2E141CBA52544664E8F58D89B05A5EAA642D2898E17B99');
INSERT INTO "decisions" VALUES(12,'dec_1','retires',X'72657469726573',1795527121080000,'allow','bo','tester','lab','','old-1','old-1','CHAT',10,'[]','[]','[]',0,1,1,X'3E2596DEB636FAB3644B36EC724087D51CB61DCC0C2948DF0697F8224C248AF3');
INSERT INTO "decisions" VALUES(16,'dec_10-fc83861f1cba080464d4','packed-settledba8e99c03a0d363fd90fbeff',X'E4D0F62FA83C1350178F7007EDFF50CAC4F0A576DF51EA97E098AD2800DBD269',1795527122100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,366000,225000],["key-requests-per-minute","requests","",1795527062100000,1795527122100000,null,3,3],["role-daily-tokens","tokens","bob",1795478400000000,1795564800000000,100000,0,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,366000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527062100000,1795527122100000,60,3,2]]',0,2,1,X'E52325A8C56174013D9289D2372158C3A275055E33CC4210CAC03FC1A76152D4');
INSERT INTO "decisions" VALUES(17,'dec_11-f2410c022cbf6492e4e8','packed-overrunba8e99c03a0d363fd90fbeff',X'5B1E9BCBB47388CCCB61554F02F87A14D51F621B5415B2CC00DE3B67434835E5',1795527122100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,409500,225000],["key-requests-per-minute","requests","",1795527062100000,1795527122100000,null,4,3],["role-daily-tokens","tokens","bob",1795478400000000,1795564800000000,100000,140,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,409500,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527062100000,1795527122100000,60,4,2]]',0,2,1,X'C566AF0ABE047B9403167A1874CA0B67BD3C19D70B702EA43F5ED30FB4BDE950');
INSERT INTO "decisions" VALUES(18,'dec_12-c332ad42394bd3a0b36a','packed-releasedba8e99c03a0d363fd90fbeff',X'9DE3BDD5CEAB2956947F8A60093FB9A940D46C290A5217EF6663F67EEEE5A400',1795527122100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,513000,225000],["key-requests-per-minute","requests","",1795527062100000,1795527122100000,null,5,3],["role-daily-tokens","tokens","bob",1795478400000000,1795564800000000,100000,380,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,513000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527062100000,1795527122100000,60,5,2]]',0,2,1,X'2BAE72782D54F19D8B2C8A7D53883A09C5FB43ECE531330DEB84FBD772CC915F');
INSERT INTO "decisions" VALUES(19,'dec_13-27008f218fc957c88bdb','packed-openba8e99c03a0d363fd90fbeff',X'17614517DC6CF26401BE515424C1044703BEEEE9F760B6D8924BE5EAEAB5C9DE',1795527122100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,513000,225000],["key-requests-per-minute","requests","",1795527062100000,1795527122100000,null,5,3],["role-daily-tokens","tokens","bob",1795478400000000,1795564800000000,100000,380,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,513000,150000],["workspace-requests-per-minute","requests","dev-workspace",1795527062100000,1795527122100000,60,5,2]]',0,2,1,X'5A0F93399E75A281B6C25C4F141C46A3F87800D4107BA0DDCBFC320B70405426');
INSERT INTO "decisions" VALUES(20,'dec_14-4189d924b8af924e2c2c','brief-settledba8e99c03a0d363fd90fbeff',X'4218A553BE7EEE74722EC8A453B418ABDCA2D71A779AD26F37AC255C3A73B67B',1795527123100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[[7,3600,10000000000,513000,300000],[18,null,null,5,4],[16,86400,100000,380,400],[10,2592000,50000000000,513000,225000],[19,null,60,5,3]]',0,2,1,X'D9B315A3BF18468FA0AEC3FA0C245CF1F2BFE49EE767DA8C5C53ACF27562FC9D');
INSERT INTO "decisions" VALUES(21,'dec_15-a4eecc563e83e7cb4090','brief-overrunba8e99c03a0d363fd90fbeff',X'41C5E9F66B53D78375AD76DED0FE42F8C6B13C9023B8C35B37A20D21A29F6F2A',1795527123100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[[7,3600,10000000000,541500,300000],[18,null,null,6,4],[16,86400,100000,450,400],[10,2592000,50000000000,541500,225000],[19,null,60,6,3]]',0,2,1,X'E321D0D994C6C49D198C153DB172C615411196A639151BDF032D4AD7FD61BCE9');
INSERT INTO "decisions" VALUES(22,'dec_16-1367b8574c82a002a0ee','brief-releasedba8e99c03a0d363fd90fbeff',X'0744FF427340FEE38BA2AAD5BF8D1156630D77F185757E188EB0D4D923ECECAB',1795527123100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[[7,3600,10000000000,786000,300000],[18,null,null,7,4],[16,86400,100000,880,400],[10,2592000,50000000000,786000,225000],[19,null,60,7,3]]',0,2,1,X'E02C12480D6D6B156DCB58C386FFAA32729235A0257D44CCA25EE0406B516ED0');
INSERT INTO "decisions" VALUES(23,'dec_17-263fe109294c20eac714','brief-openba8e99c03a0d363fd90fbeff',X'764A648EA33ED6381F51F5B0987892728B6D45377ED7EA9B4413742C6EA55378',1795527123100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[[7,3600,10000000000,786000,300000],[18,null,null,7,4],[16,86400,100000,880,400],[10,2592000,50000000000,786000,225000],[19,null,60,7,3]]',0,2,1,X'0EF0FECA0DEC838FB988955EBCB607CF2F6811DED2CED0C1BC3F04B538328A43');
INSERT INTO "decisions" VALUES(24,'dec_18-cf1abb53ab95cbbef06f',NULL,X'',1795527123100000,'allow','bob','analyst','dev-workspace','','mistral-small-latest','mistral-small-2603','CHAT',100,'[]','[]','[[7,3600,10000000000,786000,375000],[18,null,null,7,5],[16,86400,100000,880,600],[10,2592000,50000000000,786000,300000],[19,null,60,7,4]]',0,2,1,X'5100CDB2264BB95E602D70A5929D4D8EB732E70385CFD8AA866FB0F64C303E6A');
CREATE TABLE denials (
  id INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  decision_id TEXT NOT NULL,
  request_id TEXT UNIQUE,
  fingerprint BLOB NOT NULL,
  decided_at_us INTEGER NOT NULL,
  principal TEXT NOT NULL,
  role TEXT NOT NULL,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  model_requested TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  reasons TEXT NOT NULL,
  shadow_reasons TEXT NOT NULL,
  budgets TEXT NOT NULL,
  retry_after_us INTEGER NOT NULL,
  policy_set INTEGER NOT NULL REFERENCES policy_sets (id),
  policy_generation INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;
INSERT INTO "denials" VALUES(14,2,0,'dec_01a20dc19caadb270e18022e206ba11a','denied-2f6d9a83cb9d219cfa385a3b8',X'C6EBEE0F8AABA1B7E2A6815BB69319064584C13F81CA129C78EAA68C22A31C20',1795527122090000,'ada','analyst','dev-workspace','','mistral-large-latest','mistral-large-2512','CHAT','[{"code":"MODEL_NOT_ALLOWED","message":"role analyst may not call mistral-large-latest","rule":"role-models","http_status":403},{"code":"MODEL_NOT_ALLOWED","message":"workspace dev-workspace may not call mistral-large-latest","rule":"workspace-models","http_status":403}]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,366000,150000],["key-requests-per-minute","requests","",1795527062090000,1795527122090000,null,3,2],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,100000,820,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,366000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527062090000,1795527122090000,60,3,1]]',0,2,1,X'58CD629000FD8ED5183E6971559D668312168E17DE892D4363FD58552FBEB8D0');
INSERT INTO "denials" VALUES(15,3,1,'dec_01a20dc19cb49976a4d6040fe78b2df9','denied-3f6d9a83cb9d219cfa385a3b8',X'375BA5AAB4DB6301A0A7E4968AE94F1220A631061AA5AA3997BD905E98C20BFE',1795527122100000,'ada','analyst','dev-workspace','','mistral-large-latest','mistral-large-2512','CHAT','[{"code":"MODEL_NOT_ALLOWED","message":"role analyst may not call mistral-large-latest","rule":"role-models","http_status":403},{"code":"MODEL_NOT_ALLOWED","message":"workspace dev-workspace may not call mistral-large-latest","rule":"workspace-models","http_status":403}]','[]','[["hourly-spending-guard","cost","organization",1795525200000000,1795528800000000,10000000000,366000,150000],["key-requests-per-minute","requests","",1795527062100000,1795527122100000,null,3,2],["role-daily-tokens","tokens","ada",1795478400000000,1795564800000000,100000,820,200],["workspace-monthly-budget","cost","dev-workspace",1793491200000000,1796083200000000,50000000000,366000,75000],["workspace-requests-per-minute","requests","dev-workspace",1795527062100000,1795527122100000,60,3,1]]',0,2,1,X'513FFBE59B9068940A0567CA43FEAD14042C6436C36A27EE929A8C62FE346097');
CREATE TABLE denials_gone (
  number INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;
INSERT INTO "denials_gone" VALUES(1,X'C0037A6F61B241802622DA22C5715252597F39CDB01A1FB8C4B12966E253E8E9');
CREATE TABLE holder (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  uid TEXT NOT NULL,
  fleet_id TEXT NOT NULL,
  boot INTEGER NOT NULL,
  version INTEGER NOT NULL,
  timeline INTEGER NOT NULL
, reported_after INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "holder" VALUES(1,'00112233445566778899aabbccddeeff','fleet_0123456789abcdef',3,41,2,0);
CREATE TABLE holds (
  id INTEGER PRIMARY KEY REFERENCES decisions (id),
  hold_id TEXT NOT NULL,
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
  response_model TEXT NOT NULL DEFAULT '',
  held_characters INTEGER NOT NULL DEFAULT 0,
  held_annotated_pages INTEGER NOT NULL DEFAULT 0,
  held_tool_calls TEXT NOT NULL DEFAULT '',
  charged_characters INTEGER NOT NULL DEFAULT 0,
  charged_annotated_pages INTEGER NOT NULL DEFAULT 0,
  charged_tool_calls TEXT NOT NULL DEFAULT '',
  unrecognized_usage INTEGER NOT NULL DEFAULT 0,
  amounts TEXT NOT NULL
) STRICT;
INSERT INTO "holds" VALUES(4,'hold_4','settled',1795441321000000,1795440721000000,1,'',0,'',0,100,0,0,100000,0,30,0,0,0,30000,0,'ok','small-1',0,0,'',0,0,'',0,'[[1,100000,1,30000],[2,100,1,30],[6,100000,1,30000]]');
INSERT INTO "holds" VALUES(5,'hold_01a20dc198724a9bb090a2214c2e519e','settled',1795527721010000,1795527121010000,2,'',0,'',100,100,0,0,75000,90,40,0,0,0,37500,0,'unspecified','mistral-small-latest',0,0,'',0,0,'',0,'[[7,75000,1,37500],[8,1,1,1],[9,200,1,130],[10,75000,1,37500],[11,1,1,1]]');
INSERT INTO "holds" VALUES(6,'hold_01a20dc1987c54b7c87c905073060a15','settled',1795527721020000,1795527121020000,2,'',0,'',100,100,0,0,75000,90,400,0,0,0,253500,1,'unspecified','mistral-small-latest',0,0,'',0,0,'',0,'[[7,75000,1,253500],[8,1,1,1],[9,200,1,490],[10,75000,1,253500],[11,1,1,1]]');
INSERT INTO "holds" VALUES(7,'hold_01a20dc19886ee556041638de28cf236','released',1795527721030000,1795527121030000,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'not sent','',0,0,'',0,0,'',0,'[[7,75000,1,0],[8,1,1,0],[9,200,1,0],[10,75000,1,0],[11,1,1,0]]');
INSERT INTO "holds" VALUES(8,'hold_01a20dc1989020ec91ae4723c15f7cc6','expired',1795527122040000,1795527123070000,2,'',0,'',100,100,0,0,75000,100,100,0,0,0,75000,0,'unknown','',0,0,'',0,0,'',0,'[[7,75000,1,75000],[8,1,1,1],[9,200,1,200],[10,75000,1,75000],[11,1,1,1]]');
INSERT INTO "holds" VALUES(10,'hold_01a20dc198a4ba69011c0ade67dc0286','open',1795530721060000,NULL,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0,'[[7,75000,1,0],[8,1,1,0],[9,200,1,0],[10,75000,1,0],[11,1,1,0]]');
INSERT INTO "holds" VALUES(11,'hold_01a20dc198ae72d8007446a4ee83475e','open',1795530721070000,NULL,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0,'[[7,75000,1,0],[8,1,1,0],[12,200,1,0],[13,75000,1,0],[14,1,1,0]]');
INSERT INTO "holds" VALUES(12,'hold_1','settled',1795527721080000,1795527121080000,1,'',0,'',0,10,0,0,10000,0,10,0,0,0,10000,0,'ok','small-1',0,0,'',0,0,'',0,'[]');
INSERT INTO "holds" VALUES(16,'hold_10-fc83861f1cba080464d4','settled',1795527722100000,1795527122100000,2,'',0,'',100,100,0,0,75000,90,50,0,0,0,43500,0,'ok','mistral-small-latest',0,0,'',0,0,'',0,'[[7,75000,1,43500],[10,75000,1,43500],[15,1,1,1],[16,200,1,140],[17,1,1,1]]');
INSERT INTO "holds" VALUES(17,'hold_11-f2410c022cbf6492e4e8','settled',1795527722100000,1795527122100000,2,'',0,'',100,100,0,0,75000,90,150,0,0,0,103500,1,'ok','mistral-small-latest',0,0,'',0,0,'',0,'[[7,75000,1,103500],[10,75000,1,103500],[15,1,1,1],[16,200,1,240],[17,1,1,1]]');
INSERT INTO "holds" VALUES(18,'hold_12-c332ad42394bd3a0b36a','released',1795527722100000,1795527122100000,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'not sent','',0,0,'',0,0,'',0,'[[7,75000,1,0],[10,75000,1,0],[15,1,1,0],[16,200,1,0],[17,1,1,0]]');
INSERT INTO "holds" VALUES(19,'hold_13-27008f218fc957c88bdb','open',1795527722100000,NULL,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0,'[[7,75000,1,0],[10,75000,1,0],[15,1,1,0],[16,200,1,0],[17,1,1,0]]');
INSERT INTO "holds" VALUES(20,'hold_14-4189d924b8af924e2c2c','settled',1795527723100000,1795527123100000,2,'',0,'',100,100,0,0,75000,30,40,0,0,0,28500,0,'ok','',0,0,'',0,0,'',0,'[[7,75000,1,28500],[10,75000,1,28500],[16,200,1,70],[18,1,1,1],[19,1,1,1]]');
INSERT INTO "holds" VALUES(21,'hold_15-a4eecc563e83e7cb4090','settled',1795527723100000,1795527123100000,2,'',0,'',100,100,0,0,75000,30,400,0,0,0,244500,1,'ok','',0,0,'',0,0,'',0,'[[7,75000,1,244500],[10,75000,1,244500],[16,200,1,430],[18,1,1,1],[19,1,1,1]]');
INSERT INTO "holds" VALUES(22,'hold_16-1367b8574c82a002a0ee','released',1795527723100000,1795527123100000,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'not sent','',0,0,'',0,0,'',0,'[[7,75000,1,0],[10,75000,1,0],[16,200,1,0],[18,1,1,0],[19,1,1,0]]');
INSERT INTO "holds" VALUES(23,'hold_17-263fe109294c20eac714','open',1795527723100000,NULL,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0,'[[7,75000,1,0],[10,75000,1,0],[16,200,1,0],[18,1,1,0],[19,1,1,0]]');
INSERT INTO "holds" VALUES(24,'hold_18-cf1abb53ab95cbbef06f','open',1795527723100000,NULL,2,'',0,'',100,100,0,0,75000,0,0,0,0,0,0,0,'','',0,0,'',0,0,'',0,'[[7,75000,1,0],[10,75000,1,0],[16,200,1,0],[18,1,1,0],[19,1,1,0]]');
CREATE TABLE key_rotation_steps (
  id INTEGER PRIMARY KEY,
  rotation INTEGER NOT NULL REFERENCES key_rotations (id),
  at_us INTEGER NOT NULL,
  version INTEGER NOT NULL,
  stage TEXT NOT NULL,
  owner TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT ''
) STRICT;
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
CREATE TABLE key_tracking (
  key_id TEXT PRIMARY KEY,
  since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO "key_usage_until" VALUES(15);
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
CREATE TABLE ledger_identity (
  ledger_id TEXT NOT NULL
) STRICT;
INSERT INTO "ledger_identity" VALUES('ledger_16f1185f39f88bc8bc15330dcde64b5f');
CREATE TABLE model_retirements (
  model TEXT PRIMARY KEY,
  retires_at_us INTEGER NOT NULL,
  replaced_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "model_retirements" VALUES('old-1',1795564800000000,'small-1');
CREATE TABLE policy_sets (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "policy_sets" VALUES(1,'digest');
INSERT INTO "policy_sets" VALUES(2,'06d8cf2cf91fc03c4fc659107cd886077d12bab5cf80e1c9f70df4fa06b57f60');
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  price_id TEXT NOT NULL,
  content TEXT NOT NULL,
  UNIQUE (price_id, content)
) STRICT;
INSERT INTO "prices" VALUES(1,'small-1@2020-01-01','{"effective_from_us":0,"input_nano_usd_per_million":1000000000,"output_nano_usd_per_million":1000000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"multipliers_in_thousandths":{"cached_input":100,"batch":1000,"service_tiers":{},"regions":{}}}');
INSERT INTO "prices" VALUES(2,'mistral-small-2603@2026-08-21','{"effective_from_us":1787270400000000,"input_nano_usd_per_million":150000000,"output_nano_usd_per_million":600000000,"page_nano_usd_per_thousand":null,"audio_nano_usd_per_minute":null,"tool_call_nano_usd_per_thousand":{"web_search":30000000000,"web_search_premium":50000000000,"code_interpreter":30000000000,"image_generation":100000000000},"multipliers_in_thousandths":{"cached_input":100,"batch":500,"service_tiers":{"priority":1750},"regions":{"eu":1100,"us":1100}}}');
CREATE TABLE prunings (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  pruned INTEGER NOT NULL,
  pruned_chain BLOB NOT NULL,
  openings BLOB NOT NULL,
  chain BLOB NOT NULL
, before_us INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "prunings" VALUES(1,4,3,X'A171E2A57A0C45E1AE426141164347EC136AB25955E32723B4EC8AB87917252D',X'D30F721F5083620BA44B373B447D4DFA041E720077C78BD985FCD11515317A83',X'078F863F5344C81B5E93FA9BAB42D22EF6729595844BEA0E18901341701F962E',0);
CREATE TABLE shares (
  rule TEXT NOT NULL,
  meter TEXT NOT NULL,
  window TEXT NOT NULL,
  scope TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  granted INTEGER NOT NULL,
  ceiling INTEGER NOT NULL,
  others_spent INTEGER NOT NULL,
  others_held INTEGER NOT NULL,
  others_free INTEGER NOT NULL,
  room INTEGER NOT NULL,
  as_of_us INTEGER NOT NULL,
  PRIMARY KEY (rule, meter, window, scope, window_start_us)
) STRICT, WITHOUT ROWID;
INSERT INTO "shares" VALUES('daily-tokens','tokens','day','ada@example.com',1795737600000000,1795824000000000,5000,100000,1200,300,700,92800,1795780000000000);
INSERT INTO "shares" VALUES('requests-a-minute','requests','minute','ada@example.com',0,9223372036854775807,12,60,3,0,5,40,1795780000000000);
CREATE TABLE time_corrections (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  from_us INTEGER NOT NULL,
  to_us INTEGER NOT NULL,
  signed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
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
CREATE INDEX budgets_with_opening ON budgets (window_end_us) WHERE opening IS NOT NULL;
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
CREATE VIEW time_correction_log AS
SELECT datetime(from_us / 1000000, 'unixepoch') AS from_utc,
  datetime(to_us / 1000000, 'unixepoch') AS to_utc, signed_by, reason
FROM time_corrections ORDER BY id;
CREATE UNIQUE INDEX decisions_by_request_id ON decisions (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX holds_open ON holds (expires_at_us) WHERE state = 'open';
CREATE UNIQUE INDEX holds_earlier_ids ON holds (hold_id) WHERE instr(hold_id, '-') = 0;
CREATE VIEW hold_amounts AS
SELECT h.id AS hold, a.value ->> 0 AS budget, a.value ->> 1 AS held, a.value ->> 3 AS charged,
  a.value ->> 2 AS charge_on_expiry
FROM holds h, json_each(h.amounts) a;
CREATE VIEW all_decisions AS
SELECT id, decision_id, request_id, fingerprint, decided_at_us, effect, principal, role, workspace,
  key_id, model_requested, model, endpoint, max_output_tokens, reasons, shadow_reasons, budgets,
  retry_after_us, policy_set, policy_generation
FROM decisions
UNION ALL
SELECT id, decision_id, request_id, fingerprint, decided_at_us, CAST('deny' AS TEXT), principal,
  role, workspace, key_id, model_requested, model, endpoint, CAST(0 AS INTEGER), reasons,
  shadow_reasons, budgets, retry_after_us, policy_set, policy_generation
FROM denials ORDER BY id;
CREATE VIEW key_usage_uncounted AS
SELECT d.id AS decision, iif(v.version IS NULL, t.key_id, d.key_id) AS key_id, d.model, d.effect,
  d.decided_at_us
FROM (
  SELECT id, key_id, model, effect, decided_at_us FROM decisions
  WHERE id > (SELECT decision FROM key_usage_until)
  UNION ALL
  SELECT id, key_id, model, CAST('deny' AS TEXT), decided_at_us FROM denials
  WHERE id > (SELECT decision FROM key_usage_until)
) d
CROSS JOIN key_tracking t ON t.key_id = substr(d.key_id, 1, instr(d.key_id || '#', '#') - 1)
LEFT JOIN key_versions v ON v.key_id = t.key_id
  AND v.version = CAST(substr(d.key_id, length(t.key_id) + 2) AS INTEGER)
  AND d.key_id = t.key_id || '#' || v.version;
CREATE VIEW key_usage AS
SELECT key_id, model, effect, min(first_used_at_us) AS first_used_at_us,
  max(last_used_at_us) AS last_used_at_us, sum(decisions) AS decisions
FROM (
  SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions
  FROM key_usage_counted
  UNION ALL
  SELECT key_id, model, effect, decided_at_us, decided_at_us, 1 FROM key_usage_uncounted
) GROUP BY key_id, model, effect;
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  substr(request_id, 1, instr(request_id || char(31), char(31)) - 1) AS request_id
FROM all_decisions;
CREATE VIEW open_holds AS
SELECT hold_id, datetime(expires_at_us / 1000000, 'unixepoch') AS expires_at_utc, principal,
  workspace, model, held_input_tokens + held_output_tokens AS held_tokens,
  printf('$%d.%09d', held_cost_nano_usd / 1000000000, held_cost_nano_usd % 1000000000)
    AS held_cost_usd
FROM holds JOIN decisions USING (id) WHERE state = 'open' ORDER BY expires_at_us;
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
COMMIT;
