-- Views add up at the time of the question, so they are as exact as the table.
-- An incremental materialized view is not: it can miss a block, or have it twice.

-- Contents by minute. Users are those of the minute.
CREATE VIEW IF NOT EXISTS {{.Name "content_by_minute"}}{{.OnCluster}} AS
SELECT
    stream, content, minute,
    uniqExact(user) AS readers,
    sum(r.opens) AS opens, sum(r.reads) AS reads, sum(r.finishes) AS finishes, sum(r.saves) AS saves, sum(r.shares) AS shares,
    sum(r.dwell_ms) AS dwell_ms, max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535
GROUP BY stream, content, minute;

-- Contents by hour.
CREATE VIEW IF NOT EXISTS {{.Name "content_by_hour"}}{{.OnCluster}} AS
SELECT
    stream, content, toStartOfHour(minute) AS hour,
    uniqExact(user) AS readers,
    sum(r.opens) AS opens, sum(r.reads) AS reads, sum(r.finishes) AS finishes, sum(r.saves) AS saves, sum(r.shares) AS shares,
    sum(r.dwell_ms) AS dwell_ms, max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535
GROUP BY stream, content, hour;

-- Contents by day.
CREATE VIEW IF NOT EXISTS {{.Name "content_by_day"}}{{.OnCluster}} AS
SELECT
    stream, content, toDate(minute) AS day,
    uniqExact(user) AS readers,
    sum(r.opens) AS opens, sum(r.reads) AS reads, sum(r.finishes) AS finishes, sum(r.saves) AS saves, sum(r.shares) AS shares,
    sum(r.dwell_ms) AS dwell_ms, max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535
GROUP BY stream, content, day;

-- Users by day.
CREATE VIEW IF NOT EXISTS {{.Name "user_by_day"}}{{.OnCluster}} AS
SELECT
    stream, user, toDate(minute) AS day,
    uniqExact(content) AS contents,
    sum(r.opens) AS opens, sum(r.reads) AS reads, sum(r.finishes) AS finishes, sum(r.saves) AS saves, sum(r.shares) AS shares,
    sum(r.dwell_ms) AS dwell_ms, max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535
GROUP BY stream, user, day;

-- How far each reader got with each content, ever.
CREATE VIEW IF NOT EXISTS {{.Name "reader_progress"}}{{.OnCluster}} AS
SELECT
    stream, content, user,
    max(r.progress) AS progress, sum(r.dwell_ms) AS dwell_ms, sum(r.finishes) AS finishes,
    min(r.first) AS first, max(r.last) AS last
FROM {{.Reads}} AS r
WHERE stream != 65535
GROUP BY stream, content, user;

-- The ledger with each row once.
CREATE VIEW IF NOT EXISTS {{.Name "books"}}{{.OnCluster}} AS
SELECT * FROM {{.Ledger}} FINAL;

-- Blocks that are in reads. More than one copy, or more than one checksum, is an
-- alarm.
CREATE VIEW IF NOT EXISTS {{.Name "receipts"}}{{.OnCluster}} AS
SELECT
    content AS collector, user AS block,
    min(r.first) AS window_start, max(r.last) AS window_end,
    sum(r.opens) AS copies, uniqExact(r.dwell_ms) AS checksums
FROM {{.Reads}} AS r
WHERE stream = 65535
GROUP BY collector, block;
