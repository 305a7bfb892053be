-- The hours of contents in granules of few rows, so that of the contents that are looked
-- at little more is read than their own rows, which are large with their sketches. A
-- ClickHouse before 25.12 knows no settings of projections: --apply leaves them out there,
-- and questions about single contents take longer.
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

-- It takes the place of this one, which goes from parts in the background: behind merges
-- that are under way. Parts of before have the new one once they are merged, or:
--
--   ALTER TABLE {{.Local "reads"}}{{.OnCluster}} MATERIALIZE PROJECTION content_hours
ALTER TABLE {{.Local "reads"}}{{.OnCluster}} DROP PROJECTION IF EXISTS content_by_hour
SETTINGS alter_sync = 0;
