-- What is asked most is kept added up in each part of reads, beside its rows and made of
-- them: a projection is in the part, so it is as exact as its rows are. ClickHouse takes
-- it by itself where a question asks for nothing else, and the rows of parts that have
-- none. Rows of coarse = 255 are on their way out, and apart by the key.
--
-- Parts that were there before have none until they are merged with others that have
-- none, or until it is asked for:
--
--   ALTER TABLE {{.Local "reads"}}{{.OnCluster}}
--     MATERIALIZE INDEX minutes, MATERIALIZE PROJECTION by_minute, MATERIALIZE PROJECTION content_hours
--
-- which reads all rows once, in the background (system.mutations), and disturbs nothing.

-- A row for each minute of a stream. Readers are counted by a sketch that is right within
-- 1 % (a standard error of 0.8 %), a reader with a content by another one.
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} ADD PROJECTION IF NOT EXISTS by_minute
(
    SELECT
        stream, minute, coarse, variant,
        sum(opens), sum(reads), sum(finishes), sum(saves), sum(shares), sum(impressions), sum(clicks),
        sum(opens * (1 + skipped)), sum(reads * (1 + skipped)), sum(finishes * (1 + skipped)),
        sum(saves * (1 + skipped)), sum(shares * (1 + skipped)), sum(dwell_ms * (1 + skipped)),
        sum(impressions * (1 + skipped)), sum(clicks * (1 + skipped)),
        sumIf((toUInt64(opens) + reads + finishes + saves + shares + impressions + clicks) * (1 + skipped), coarse > 0),
        max(progress),
        uniqCombined64If(14)(user, (coarse = 0) AND (variant = 0)),
        uniqCombined64If(14)((content, user), (coarse = 0) AND (variant = 0)),
        uniqCombined64If(14)((content, user), (coarse = 0) AND (variant = 0) AND (finishes > 0))
    GROUP BY stream, minute, coarse, variant
);

-- A row for each hour of a content. Its sketches are small, and right within 2 % (a
-- standard error of 1.6 %): who read, who got to half of it, and who finished. Granules of
-- few rows, so that of the contents that are looked at little more is read than their own
-- rows, which are large with their sketches. A ClickHouse before 25.12 knows no settings of
-- projections: --apply leaves them out there, and questions about single contents take
-- longer.
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} ADD PROJECTION IF NOT EXISTS content_hours
(
    SELECT
        stream, content, toStartOfHour(minute), coarse, variant,
        sum(opens * (1 + skipped)), sum(reads * (1 + skipped)), sum(finishes * (1 + skipped)),
        sum(saves * (1 + skipped)), sum(shares * (1 + skipped)), sum(dwell_ms * (1 + skipped)),
        sum(impressions * (1 + skipped)), sum(clicks * (1 + skipped)),
        max(progress),
        uniqCombinedIf(12)(user, (coarse = 0) AND (variant = 0)),
        uniqCombinedIf(12)(user, (coarse = 0) AND (variant = 0) AND ((progress >= 50) OR (finishes > 0))),
        uniqCombinedIf(12)(user, (coarse = 0) AND (variant = 0) AND (finishes > 0))
    GROUP BY stream, content, toStartOfHour(minute), coarse, variant
)
WITH SETTINGS (index_granularity = 64);

-- Which minutes a granule has. Each part has a receipt of the day's last minute, so that
-- without this no part could be left out of a question about the last five.
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} ADD INDEX IF NOT EXISTS minutes minute TYPE minmax GRANULARITY 1;

-- An insert writes rows alone; the first merge of its part makes the projections, of many
-- parts at once, which is cheaper than in each of them. An older ClickHouse that has no
-- such setting makes them with the insert: there this statement is to be left out, as
-- --apply does.
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} MODIFY SETTING materialize_projections_on_insert = 0, materialize_projections_on_merge = 1;

-- DELETE FROM takes rows out of the projections, too; by default it would be refused.
-- ALTER TABLE … DELETE always does.
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

-- The views below are answered from projections where they are not asked for readers,
-- which are counted one by one; readers_estimate is by the sketch.

-- Streams by minute, with all that is coarse: the views below leave contents and
-- readers without rows of their own out. `coarse` is how many of the events are in rows
-- of several readers.
CREATE OR REPLACE VIEW {{.Name "stream_by_minute"}}{{.OnCluster}} AS
SELECT
    stream, minute,
    uniqExactIf(user, r.coarse = 0 AND r.variant = 0) AS readers, uniqCombined64If(14)(user, r.coarse = 0 AND r.variant = 0) AS readers_estimate,
    sum(r.opens * (1 + r.skipped)) AS opens, sum(r.reads * (1 + r.skipped)) AS reads, sum(r.finishes * (1 + r.skipped)) AS finishes,
    sum(r.saves * (1 + r.skipped)) AS saves, sum(r.shares * (1 + r.skipped)) AS shares, sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms,
    max(r.progress) AS progress,
    sum(r.impressions * (1 + r.skipped)) AS impressions, sum(r.clicks * (1 + r.skipped)) AS clicks,
    sumIf((toUInt64(r.opens) + r.reads + r.finishes + r.saves + r.shares + r.impressions + r.clicks) * (1 + r.skipped), r.coarse > 0) AS coarse
FROM {{.Reads}} AS r
WHERE stream != 65535 AND r.coarse < 255
GROUP BY stream, minute;

-- Contents by hour.
CREATE OR REPLACE VIEW {{.Name "content_by_hour"}}{{.OnCluster}} AS
SELECT
    stream, content, toStartOfHour(minute) AS hour,
    uniqExactIf(user, r.coarse = 0) AS readers,
    uniqCombinedIf(12)(user, r.coarse = 0 AND r.variant = 0) AS readers_estimate,
    sum(r.opens * (1 + r.skipped)) AS opens, sum(r.reads * (1 + r.skipped)) AS reads, sum(r.finishes * (1 + r.skipped)) AS finishes,
    sum(r.saves * (1 + r.skipped)) AS saves, sum(r.shares * (1 + r.skipped)) AS shares, sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms,
    max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse < 2 AND variant = 0
GROUP BY stream, content, hour;

-- Contents by day: by the hours, so that it is answered from theirs.
CREATE OR REPLACE VIEW {{.Name "content_by_day"}}{{.OnCluster}} AS
SELECT
    stream, content, toDate(toStartOfHour(minute)) AS day,
    uniqExactIf(user, r.coarse = 0) AS readers,
    uniqCombinedIf(12)(user, r.coarse = 0 AND r.variant = 0) AS readers_estimate,
    sum(r.opens * (1 + r.skipped)) AS opens, sum(r.reads * (1 + r.skipped)) AS reads, sum(r.finishes * (1 + r.skipped)) AS finishes,
    sum(r.saves * (1 + r.skipped)) AS saves, sum(r.shares * (1 + r.skipped)) AS shares, sum(r.dwell_ms * (1 + r.skipped)) AS dwell_ms,
    max(r.progress) AS progress
FROM {{.Reads}} AS r
WHERE stream != 65535 AND coarse < 2 AND variant = 0
GROUP BY stream, content, day;
