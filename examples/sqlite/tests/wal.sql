-- SPDX-License-Identifier: GPL-2.0
-- The write-ahead log on a file system: shared memory, checkpoints, a second connection.
PRAGMA journal_mode = wal;
SELECT iif(journal_mode = 'wal', 'ok ', 'not ok ') || 'mode' FROM pragma_journal_mode;
CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO t SELECT i, randomblob(500) FROM n;
PRAGMA wal_checkpoint(TRUNCATE);
-- Another connection has a snapshot while this one writes.
ATTACH '/data/b.db' AS other;
BEGIN;
SELECT iif(count(*) = 2000, 'ok ', 'not ok ') || 'second connection' FROM other.t;
INSERT INTO main.t VALUES(2001, x'00');
SELECT iif(count(*) = 2000, 'ok ', 'not ok ') || 'snapshot' FROM other.t;
COMMIT;
SELECT iif(count(*) = 2001, 'ok ', 'not ok ') || 'after the commit' FROM other.t;
DETACH other;
.backup /data/copy.db
ATTACH '/data/copy.db' AS copy;
SELECT iif((SELECT count(*) FROM (SELECT * FROM main.t EXCEPT SELECT * FROM copy.t)) = 0
  AND (SELECT count(*) FROM copy.t) = 2001, 'ok ', 'not ok ') || 'backup';
DETACH copy;
PRAGMA journal_mode = delete;
SELECT iif(journal_mode = 'delete', 'ok ', 'not ok ') || 'back to a journal' FROM pragma_journal_mode;
UPDATE t SET data = x'01';
SELECT iif(integrity_check = 'ok', 'ok ', 'not ok ') || 'integrity' FROM pragma_integrity_check;
