-- Views add up at the time of the question, so they are as exact as the table.
-- An incremental materialized view is not: it can miss a block, or have it twice.

-- Contents by minute. Readers are those of the minute who have a row of their own.
CREATE VIEW IF NOT EXISTS {{.Name "content_by_minute"}}{{.OnCluster}} AS
SELECT
    stream, content, minute,
    uniqExactIf(user, r.coarse = 0) AS readers,
    sum(r.opens * (1 + r.skipped)) AS opens, sum(r.reads * (1 + r.skipped)) AS reads, sum(r.finishes * (1 + r.skipped)) AS finishes,
    sum(r.saves * (1 + r.skipped)) AS saves, sum(r.shares * (1 + r.skipped)) AS shares, sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms,
    max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse < 2 AND variant = 0
GROUP BY stream, content, minute;

-- Users by day.
CREATE VIEW IF NOT EXISTS {{.Name "user_by_day"}}{{.OnCluster}} AS
SELECT
    stream, user, toDate(minute) AS day,
    uniqExact(content) AS contents,
    sum(r.opens * (1 + r.skipped)) AS opens, sum(r.reads * (1 + r.skipped)) AS reads, sum(r.finishes * (1 + r.skipped)) AS finishes,
    sum(r.saves * (1 + r.skipped)) AS saves, sum(r.shares * (1 + r.skipped)) AS shares, sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms,
    max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse = 0 AND variant = 0
GROUP BY stream, user, day;

-- How far each reader got with each content, ever, and where they left: the latest
-- progress, NULL where none was told.
CREATE VIEW IF NOT EXISTS {{.Name "reader_progress"}}{{.OnCluster}} AS
SELECT
    stream, content, user,
    max(r.progress) AS progress,
    argMax(nullIf(r.resume, 255), (toUnixTimestamp64Milli(r.last) - r.resume_lag, r.resume)) AS resume,
    sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms, sum(r.finishes * (1 + r.skipped)) AS finishes,
    min(r.first) AS first, max(r.last) AS last
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse = 0 AND variant = 0
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
    stream, class, source,
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
GROUP BY stream, class, source
HAVING min(s.met) + toIntervalSecond(1) > (SELECT min(window_start) FROM {{.Ledger}});

-- The ledger with each row once, and settlements beside them, as rows of the
-- collector 0 and the block 0: added up, they are what the books of all collectors
-- say together. sent = accepted + refused + shed + lost + open + damaged. Numbers are of
-- 128 bits: what forged positions say is up to 2^48 a source, and a sum of 64 wraps.
CREATE VIEW IF NOT EXISTS {{.Name "books"}}{{.OnCluster}} AS
SELECT
    collector, block, stream, class, window_start, window_end, config,
{{- range .Counters}}
    toInt128(k.{{.}}) AS {{.}},
{{- end}}
    toInt128(0) AS open, refused, stored, attempt
{{- range .Families}}, {{.}}{{end}}
FROM {{.Ledger}} AS k FINAL
UNION ALL
SELECT
    toUInt64(0), toUInt64(0), s.stream, s.class, s.moved, s.moved, '',
{{- range .Counters}}
    {{if eq . "sent"}}toInt128(s.gap){{else if eq . "lost"}}toInt128(s.gap) - if(s.open, s.missing, 0){{else}}toInt128(0){{end}},
{{- end}}
    toInt128(if(s.open, s.missing, 0)), toUInt64(0), toUInt64(0), toUInt64(0)
{{- range .Families}}, CAST(map(), 'Map(LowCardinality(String), UInt64)'){{end}}
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

-- Headlines by day: how often each variant was shown, and followed. Those that were
-- counted without their content are left out, as in the views of contents.
CREATE VIEW IF NOT EXISTS {{.Name "headline_by_day"}}{{.OnCluster}} AS
SELECT
    stream, content, toDate(minute) AS day, variant,
    sum(r.impressions * (1 + r.skipped)) AS impressions, sum(r.clicks * (1 + r.skipped)) AS clicks
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse < 2 AND variant > 0
GROUP BY stream, content, day, variant;

-- The views below take the span that they are asked about as parameters, since what is
-- asked is of the order of a reader's rows, and a condition behind it would not reach
-- the table: SELECT … FROM recirculation(stream = 1, since = '…', until = '…').
-- The reader 0 is nobody in particular, and left out.

-- What is read next in a visit: a content that a reader opened within half an hour of
-- having read another, by the two of them. `visits` is how often, `readers` how many.
CREATE VIEW IF NOT EXISTS {{.Name "recirculation"}}{{.OnCluster}} AS
SELECT before AS content, opened AS next, count() AS visits, uniqExact(reader) AS readers
FROM
(
    SELECT
        v.user AS reader, v.content AS opened, v.opened AS opens, v.begin AS begin,
        lagInFrame(toNullable(v.content)) OVER w AS before,
        lagInFrame(v.end) OVER w AS left
    FROM
    (
        SELECT user, content, minute, sum(r.opens) AS opened, min(r.first) AS begin, max(r.last) AS end
        FROM {{.Reads}} AS r
        WHERE stream = {stream:UInt16} AND minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
            AND coarse = 0 AND variant = 0 AND user != 0
        GROUP BY user, content, minute
    ) AS v
    WINDOW w AS (PARTITION BY v.user ORDER BY v.begin, v.content, v.minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE opens > 0 AND before != opened AND begin <= left + toIntervalMinute(30)
GROUP BY content, next;

-- How loyal readers are: on how many of the sixteen days up to `until` they read, and
-- how many did on so many. That is true of accounts alone: an id that a reader has for
-- a day, or for a browser, makes many readers of one.
CREATE VIEW IF NOT EXISTS {{.Name "loyalty"}}{{.OnCluster}} AS
SELECT days, count() AS readers
FROM
(
    SELECT user, uniqExact(toDate(minute)) AS days
    FROM {{.Reads}}
    WHERE stream = {stream:UInt16} AND minute >= toDateTime({until:Date} - 15, 'UTC') AND minute < toDateTime({until:Date} + 1, 'UTC')
        AND coarse = 0 AND variant = 0 AND user != 0
    GROUP BY user
)
GROUP BY days;
