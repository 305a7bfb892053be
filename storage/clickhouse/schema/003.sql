-- What contents are called: the text that an id is the hash of (name), and title,
-- section, author, published and words, each as the last frame of its class said it.
-- A later text replaces the earlier, so read it with FINAL, or through the view names.
CREATE TABLE IF NOT EXISTS {{.Local "contents"}}{{.OnCluster}}
(
    stream     UInt16 CODEC(ZSTD(1)),
    content    UInt64 CODEC(ZSTD(1)),
    -- What the frame proved: anybody may say what a content is called, and what a
    -- holder of the stream's key says is shown in its place.
    class      LowCardinality(String),
    attribute  LowCardinality(String),
    text       String CODEC(ZSTD(1)),
    -- When it came.
    at         DateTime64(3, 'UTC') CODEC(T64, ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "contents" "at"}}
ORDER BY (stream, content, class, attribute)
{{- .TTL "at"}}
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;
{{if .Cluster}}
CREATE TABLE IF NOT EXISTS {{.Name "contents_all"}}{{.OnCluster}} AS {{.Local "contents"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'contents');
{{end}}
-- A content in one row. called is its name, or where nobody said that, its title.
-- published is 1970 and words 0 where nobody said them. Ask for the contents that are
-- wanted: WHERE (stream, content) IN (…).
CREATE VIEW IF NOT EXISTS {{.Name "names"}}{{.OnCluster}} AS
SELECT
    stream, content,
    if(name != '', name, title) AS called,
    argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'name') AS name,
    argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'title') AS title,
    argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'section') AS section,
    argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'author') AS author,
    fromUnixTimestamp64Milli(toInt64OrZero(argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'published')), 'UTC') AS published,
    toUInt64OrZero(argMaxIf(c.text, (c.class = 'sealed', c.at), c.attribute = 'words')) AS words
FROM {{.Contents}} AS c
GROUP BY stream, content;
