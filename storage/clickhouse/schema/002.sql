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

-- The spans of each source, from all collectors, settled: the source numbered
-- `gap` events more than all books together have as sent (below zero: the books
-- have events twice, as missed here and counted there), and `missing` came to
-- nobody. While a collector may still tell more of the source it is open, and what
-- is missing may have come there. Sources met before the ledger begins are left
-- out: the books of that time are gone.
CREATE VIEW IF NOT EXISTS {{.Name "settlements"}}{{.OnCluster}} AS
WITH now64(3) - toIntervalSecond({{.SpanOpenSeconds}}) AS since, now64(3) + toIntervalSecond({{.SpanOpenSeconds}}) AS until
SELECT
    stream, source,
    count() AS spans, min(s.position_from) AS position_from, max(s.position_to) AS position_to,
    toInt64(max(s.position_to)) - toInt64(sum(s.sent)) AS gap,
    toInt64(sum(s.lost)) + toInt64(max(s.position_to)) - toInt64(sum(s.sent)) AS missing,
    -- Several have it, and the word of each is of another moment; or who had its
    -- beginning has not told yet; or who goes on with it has not. A clock that is far
    -- ahead must not keep it open for as long.
    toUInt8(countIf(s.ended = 0 AND s.at > since AND s.at < until) > 1
        OR (min(s.position_from) > 0 AND min(s.met) > since AND min(s.met) < until)
        OR (countIf(s.ended = 0 AND s.at > since AND s.at < until) = 0 AND max(s.ended) < 2
            AND max(s.at) > since AND max(s.at) < until)) AS open,
    max(s.met) AS moved
FROM {{.Spans}} AS s FINAL
GROUP BY stream, source
HAVING min(s.met) + toIntervalSecond(1) > (SELECT min(window_start) FROM {{.Ledger}});

-- The ledger with each row once, and settlements beside them, as rows of the
-- collector 0 and the block 0: added up, they are what the books of all collectors
-- say together. sent = accepted + refused + shed + lost + open + damaged.
CREATE VIEW IF NOT EXISTS {{.Name "books"}}{{.OnCluster}} AS
SELECT
    collector, block, stream, window_start, window_end,
    toInt64(k.sent) AS sent, accepted, lost, toInt64(0) AS open, damaged, refused, shed,
    clamped, duplicate, stale, reordered, stored, attempt, refused_events, refused_frames
FROM {{.Ledger}} AS k FINAL
UNION ALL
SELECT
    toUInt64(0), toUInt64(0), s.stream, s.moved, s.moved,
    s.gap, toUInt64(0), s.gap - if(s.open, s.missing, 0), if(s.open, s.missing, 0), toUInt64(0), toUInt64(0), toUInt64(0),
    toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0),
    CAST(map(), 'Map(LowCardinality(String), UInt64)'), CAST(map(), 'Map(LowCardinality(String), UInt64)')
FROM {{.Name "settlements"}} AS s
WHERE s.gap != 0 OR s.open;

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
