-- What streams are called, as the configuration of the last `lectern schema --apply` had
-- it: [stream.NAME] with its number. Nobody else writes it, and what a stream was called
-- stays when the configuration no longer has it. Read it with FINAL, or through the view
-- stream_names.
CREATE TABLE IF NOT EXISTS {{.Local "streams"}}{{.OnCluster}}
(
    stream UInt16,
    name   String,
    at     DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "streams" "at"}}
ORDER BY stream;
{{if .Cluster}}
CREATE TABLE IF NOT EXISTS {{.Name "streams_all"}}{{.OnCluster}} AS {{.Local "streams"}}
ENGINE = Distributed({{.ClusterText}}, {{.DatabaseText}}, 'streams');
{{end}}
CREATE VIEW IF NOT EXISTS {{.Name "stream_names"}}{{.OnCluster}} AS
SELECT stream, argMax(s.name, s.at) AS name FROM {{.Named}} AS s GROUP BY stream;
