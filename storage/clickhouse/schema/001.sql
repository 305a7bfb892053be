-- What was read, by whom, in which minute. Each block of a collector is one
-- insert, hence one part; a key that several blocks have stands here several
-- times, so add up.
--
-- MergeTree and no engine that merges rows: a part keeps what its block was,
-- receipts cannot be summed away, counters cannot wrap, and projections work.
--
-- Rows of the stream 65535 are receipts: one for each block, with content =
-- collector, user = block, opens = 1, dwell_ms = checksum. Where a block's
-- receipt is, its rows are. Every question about reading leaves them out, as the
-- views below do.
CREATE TABLE IF NOT EXISTS {{.Local "reads"}}{{.OnCluster}}
(
    -- Sorted, so nearly constant in a granule: anything packs it to nothing.
    stream   UInt16 CODEC(ZSTD(1)),
    -- Start of the minute: one of 1,440 in a part.
    minute   DateTime('UTC') CODEC(T64, ZSTD(1)),
    -- Ids are hashes or numbers of the application. Equal ones stand together
    -- here, which is all that can be won.
    content  UInt64 CODEC(ZSTD(1)),
    -- Hashes in no useful order do not pack at all and are half of a row; where
    -- users are numbered, ZSTD finds that.
    user     UInt64 CODEC(ZSTD(1)),
    -- Counters of a minute are small: T64 cuts the bits that are all zero.
    opens    UInt32 CODEC(T64, ZSTD(1)),
    reads    UInt32 CODEC(T64, ZSTD(1)),
    finishes UInt32 CODEC(T64, ZSTD(1)),
    saves    UInt32 CODEC(T64, ZSTD(1)),
    shares   UInt32 CODEC(T64, ZSTD(1)),
    -- Milliseconds read, below 60,000 mostly.
    dwell_ms UInt64 CODEC(T64, ZSTD(1)),
    -- The furthest seen, percent.
    progress UInt8 CODEC(ZSTD(1)),
    -- Earliest and latest event: within a day, so T64 cuts off most bits.
    first    DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    last     DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    -- 0: a reader of a content. Where room was short, the row adds up readers who have
    -- no row of their own (1, and user is 0), or contents and readers who have none (2,
    -- and both ids are 0): as many events, and not to be counted as one of either.
    coarse   UInt8 CODEC(ZSTD(1)),
    -- Where a sender samples, how many events it left out for each one that is here:
    -- each stands for 1 + skipped.
    skipped  UInt32 CODEC(ZSTD(1)),
    -- Where variant is not 0, the row is of no reading: it says how often this variant of
    -- the content's headline was shown, and followed.
    impressions UInt32 CODEC(T64, ZSTD(1)),
    clicks   UInt32 CODEC(T64, ZSTD(1)),
    variant  UInt8 CODEC(ZSTD(1)),
    -- The latest progress, percent, where the reader went on later; 255: none was told. It
    -- was so many milliseconds before last, mostly none: with that, the latest of several
    -- rows is known, and it packs to nothing, as a time would not.
    resume   UInt8 CODEC(ZSTD(1)),
    resume_lag UInt16 CODEC(T64, ZSTD(1))
)
ENGINE = {{.Engine "MergeTree" "reads"}}
-- A block is of one day, so it is one part, and a part is atomic. Days are also
-- what retention drops.
PARTITION BY toDate(minute)
-- By content first: what is asked of a content is a range, and its rows pack
-- together. Blocks come in this order, so an insert sorts nothing.
ORDER BY (stream, content, minute, user)
{{- .TTL "minute"}}
SETTINGS
    -- Tokens of the last so many inserts are known, two entries each. Off by
    -- default; without it the insert of a server that seemed dead could land
    -- beside its own repetition.
    {{.DeduplicationWindow}},
    -- Stored means on the disk, also when the power fails in the next second.
    -- One insert in ten seconds can pay for that.
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    -- Days go as a whole, receipts with their rows.
    ttl_only_drop_parts = 1;

-- What became of every event: the books of each window by stream and class, which balance:
-- sent = accepted + refused + shed + lost + damaged. Written before the block; a block that
-- is written again replaces its rows, so read it with FINAL, or through the view
-- books.
CREATE TABLE IF NOT EXISTS {{.Local "ledger"}}{{.OnCluster}}
(
    collector      UInt64 CODEC(ZSTD(1)),
    block          UInt64 CODEC(Delta, ZSTD(1)),
    stream         UInt16 CODEC(ZSTD(1)),
    -- What the frames proved: unsealed nothing, sealed that the sender has the
    -- stream's key.
    class          LowCardinality(String),
    window_start   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    window_end     DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- The configuration that was in force when the window ended, by the hash that
    -- lectern_config_info has; '' where it is not known.
    config         LowCardinality(String),
    -- One for each counter of an account. lost is below zero where frames came that
    -- an earlier window called lost; damaged is of seals that a damaged disk took from
    -- a spool before they were stored; clamped and what follows is beside the sum.
{{- range .Counters}}
    {{.}} {{if eq . "lost"}}Int64{{else}}UInt64{{end}} CODEC(T64, ZSTD(1)),
{{- end}}
    -- All of refused_events.
    refused        UInt64 CODEC(T64, ZSTD(1)),
    -- Events that this very block brings to reads. The books of a window stand
    -- with its first block, its rows may be in several. Rows have no class: where a
    -- stream has two, it stands with the first.
    stored         UInt64 CODEC(T64, ZSTD(1)),
    -- Which of the block's tokens it was written for; the last one counts. 0 but
    -- for blocks that a server said to have, and had not.
    attempt        UInt64 CODEC(T64, ZSTD(1)),
    -- By reason: events refused that are in the sum, frames refused, and events of
    -- those frames that are not in the sum, since they are lost, or come again.
{{- range $i, $f := .Families}}{{if $i}},{{end}}
    {{$f}} Map(LowCardinality(String), UInt64)
{{- end}}
)
ENGINE = {{.Engine "ReplacingMergeTree" "ledger" "attempt"}}
-- Some thousand rows a day and collector: months are small enough.
PARTITION BY toYYYYMM(window_end)
ORDER BY (collector, block, stream, class)
{{- .TTL "window_end"}}
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- What each collector saw of a source, up to a moment, where other collectors may
-- have seen more of it: positions of events, and how many of them its books have as
-- sent, and as lost. A later span of the same meeting replaces the earlier, so read
-- it with FINAL, or through the view settlements.
CREATE TABLE IF NOT EXISTS {{.Local "spans"}}{{.OnCluster}}
(
    stream         UInt16 CODEC(ZSTD(1)),
    class          LowCardinality(String),
    source         UInt64 CODEC(ZSTD(1)),
    collector      UInt64 CODEC(ZSTD(1)),
    -- When the collector met the source.
    met            DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    -- The collector's seal that brought it; that of the last one counts. Blocks may
    -- come in another order.
    seal           UInt64 CODEC(T64, ZSTD(1)),
    block          UInt64 CODEC(T64, ZSTD(1)),
    position_from  UInt64 CODEC(T64, ZSTD(1)),
    position_to    UInt64 CODEC(T64, ZSTD(1)),
    sent           UInt64 CODEC(T64, ZSTD(1)),
    lost           UInt64 CODEC(T64, ZSTD(1)),
    -- The moment.
    at             DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    -- How it stood with the source then: 0 it went on there, 1 it did no more, 2 it
    -- had said that it was at its end.
    ended          UInt8 CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "spans" "seal"}}
-- By source, since that is how spans are settled.
ORDER BY (stream, class, source, collector, met)
{{- .TTL "at"}}
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- What was taken out of reads on demand (`lectern forget`), and not of whom. Its rows
-- were marked before, with coarse = 255, so that they could be counted; those that are
-- marked and still there are among the numbers here, or will be. Of two rows with one
-- key the larger counts.
CREATE TABLE IF NOT EXISTS {{.Local "forgotten"}}{{.OnCluster}}
(
    number         UInt64 CODEC(ZSTD(1)),
    -- When it was asked for.
    at             DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    stream         UInt16 CODEC(ZSTD(1)),
    rows           UInt64 CODEC(ZSTD(1)),
    events         UInt64 CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "forgotten" "rows"}}
ORDER BY (number, stream)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;
{{if .Cluster}}
-- For reading over all shards. Collectors write to {{.Local "reads"}} of their own shard:
-- through these, an insert would be several, and no longer exactly once.
CREATE TABLE IF NOT EXISTS {{.Name "reads_all"}}{{.OnCluster}} AS {{.Local "reads"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'reads');

CREATE TABLE IF NOT EXISTS {{.Name "ledger_all"}}{{.OnCluster}} AS {{.Local "ledger"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'ledger');

CREATE TABLE IF NOT EXISTS {{.Name "spans_all"}}{{.OnCluster}} AS {{.Local "spans"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'spans');

CREATE TABLE IF NOT EXISTS {{.Name "forgotten_all"}}{{.OnCluster}} AS {{.Local "forgotten"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'forgotten');
{{end}}
