-- SPDX-License-Identifier: GPL-2.0
-- Tests SQL: each line of output is a test.
CREATE TABLE t(id INTEGER PRIMARY KEY, word TEXT UNIQUE, number REAL, data BLOB);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
  INSERT INTO t SELECT i, 'word' || i, i / 4.0, zeroblob(i % 50) FROM n;
SELECT iif(count(*) = 5000 AND sum(id) = 12502500 AND sum(number) = 3125625.0, 'ok ', 'not ok ')
  || 'rows' FROM t;
SELECT iif(sum(length(data)) = 122500, 'ok ', 'not ok ') || 'blobs' FROM t;
SELECT iif(id = 77, 'ok ', 'not ok ') || 'index' FROM t WHERE word = 'word77';
INSERT INTO t(word) VALUES('word1') ON CONFLICT(word) DO UPDATE SET number = -1;
SELECT iif(number = -1, 'ok ', 'not ok ') || 'upsert' FROM t WHERE id = 1;
BEGIN;
DELETE FROM t;
SAVEPOINT s;
INSERT INTO t(word) VALUES('late');
ROLLBACK TO s;
SELECT iif(count(*) = 0, 'ok ', 'not ok ') || 'savepoint' FROM t;
ROLLBACK;
SELECT iif(count(*) = 5000, 'ok ', 'not ok ') || 'rollback' FROM t;
CREATE TABLE log(what TEXT);
CREATE TRIGGER gone AFTER DELETE ON t BEGIN INSERT INTO log VALUES(old.word); END;
DELETE FROM t WHERE id % 100 = 0;
SELECT iif(count(*) = 50 AND min(what) = 'word100', 'ok ', 'not ok ') || 'trigger' FROM log;
SELECT iif(group_concat(s) = '1,3,6,10', 'ok ', 'not ok ') || 'window'
  FROM (SELECT sum(id) OVER (ORDER BY id) AS s FROM t LIMIT 4);
SELECT iif(count(*) = 4950, 'ok ', 'not ok ') || 'join' FROM t AS a JOIN t AS b ON a.word = b.word;
SELECT iif(json_extract('{"a":[1,{"b":"x"}]}', '$.a[1].b') = 'x', 'ok ', 'not ok ') || 'json';
SELECT iif(abs(sin(1) - 0.8414709848078965) < 1e-12 AND round(2.5) = 3.0
  AND 0.1 + 0.2 <> 0.3 AND 9223372036854775807 + 1 = 9.2233720368547758e18, 'ok ', 'not ok ')
  || 'numbers';
SELECT iif(upper('abc') = 'ABC' AND 'Hello' LIKE 'h%o' AND 'x.c' GLOB '*.c'
  AND printf('%5.2f|%-4d|', 3.14159, 7) = ' 3.14|7   |', 'ok ', 'not ok ') || 'text';
SELECT iif(date('2000-02-28', '+2 days') = '2000-03-01', 'ok ', 'not ok ') || 'dates';
CREATE VIRTUAL TABLE f USING fts5(body);
INSERT INTO f SELECT 'the quick fox number ' || id FROM t;
SELECT iif(count(*) = 1, 'ok ', 'not ok ') || 'full text' FROM f WHERE f MATCH 'fox AND 4321';
CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1);
INSERT INTO r SELECT id, id, id + 1, 0, 1 FROM t;
SELECT iif(count(*) = 12, 'ok ', 'not ok ') || 'r-tree' FROM r WHERE x1 >= 10 AND x0 <= 20;
CREATE TABLE big(data BLOB);
INSERT INTO big VALUES(randomblob(5000000));
SELECT iif(length(data) = 5000000 AND substr(data, 4000000, 1) IS NOT NULL, 'ok ', 'not ok ')
  || 'a large blob' FROM big;
CREATE INDEX by_number ON t(number DESC);
SELECT iif(group_concat(id) = '4999,4998', 'ok ', 'not ok ') || 'sorting'
  FROM (SELECT id FROM t ORDER BY number DESC LIMIT 2);
DELETE FROM big;
VACUUM;
SELECT iif(count(*) = 4950, 'ok ', 'not ok ') || 'vacuum' FROM t;
SELECT iif(integrity_check = 'ok', 'ok ', 'not ok ') || 'integrity' FROM pragma_integrity_check;
