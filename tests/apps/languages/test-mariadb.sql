-- SPDX-License-Identifier: GPL-2.0
-- Transactions, an index, a procedure, regular expressions. Each statement is one line.
CREATE DATABASE test;
USE test;
CREATE TABLE word(id INT PRIMARY KEY, data VARCHAR(99), KEY(data)) ENGINE=InnoDB;
INSERT INTO word SELECT seq, MD5(seq) FROM seq_1_to_5000;
BEGIN;
DELETE FROM word;
ROLLBACK;
CREATE PROCEDURE remove(low INT) BEGIN DECLARE n INT DEFAULT low; WHILE n <= 5000 DO DELETE FROM word WHERE id = n; SET n = n + 1; END WHILE; END;
CALL remove(4901);
SET @rows = (SELECT COUNT(*) FROM word JOIN word AS other USING (data));
SET @found = (SELECT id FROM word WHERE data = MD5(4242));
SET @expression = REGEXP_REPLACE(REPEAT('x', 1000), '(x{10})', 'y') = REPEAT('y', 100);
SET @json = JSON_VALUE('{"a": [1, 2]}', '$.a[1]');
SELECT IF(@rows = 4900 AND @found = 4242 AND @expression AND @json = 2, 'all passed', CONCAT_WS(' ', 'failed:', @rows, @found, @expression, @json)) INTO OUTFILE '/tmp/ukl-mariadb/result';
SHUTDOWN;
