//go:build go1.26

package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	vectorsJSON   = "testdata/vectors.json"
	vectorsSchema = "testdata/vectors.schema.json"
)

// jsonVector is one case in the file that has them all.
type jsonVector struct {
	Name    string      `json:"name"`
	Comment string      `json:"comment"`
	Expect  string      `json:"expect"`
	Minimal bool        `json:"minimal"`
	Frames  []jsonFrame `json:"frames"`
	Rest    int         `json:"rest"`
	Bytes   string      `json:"bytes"`
}

// jsonFrame is a frame that is taken. Numbers that may be above 2^53 are text,
// since many readers of JSON round them.
type jsonFrame struct {
	Type     string            `json:"type"`
	Flags    int               `json:"flags"`
	Size     int               `json:"size"`
	Count    int               `json:"count"`
	Stream   int               `json:"stream"`
	Time     int64             `json:"time"`
	Source   string            `json:"source"`
	Sequence string            `json:"sequence"`
	Position string            `json:"position"`
	Skipped  *int              `json:"skipped,omitempty"`
	Events   []jsonEvent       `json:"events,omitempty"`
	Names    []jsonName        `json:"names,omitempty"`
	Hello    map[string]string `json:"hello,omitempty"`
	Ack      map[string]string `json:"ack,omitempty"`
	Refusal  map[string]string `json:"refusal,omitempty"`
	Seal     map[string]string `json:"seal,omitempty"`
}

type jsonEvent struct {
	Content  string `json:"content"`
	User     string `json:"user"`
	At       int    `json:"at"`
	Dwell    int    `json:"dwell"`
	Kind     string `json:"kind"`
	Progress *int   `json:"progress"`
}

type jsonName struct {
	Content   string `json:"content"`
	Attribute string `json:"attribute"`
	Text      string `json:"text"`
}

// fields are the key=value words of a line. The last may be text with spaces.
func fields(line string) map[string]string {
	all := make(map[string]string)
	head, text, found := strings.Cut(line, " text=")
	if found {
		all["text"] = text
	}
	for _, word := range strings.Fields(head) {
		if key, value, ok := strings.Cut(word, "="); ok {
			all[key] = value
		}
	}
	return all
}

// json returns the vector as the JSON file has it.
func (v *vector) json(t *testing.T) jsonVector {
	t.Helper()
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		return n
	}
	j := jsonVector{Name: v.name, Comment: v.comment, Expect: v.expect, Minimal: !v.foreign, Frames: []jsonFrame{}, Bytes: hex.EncodeToString(v.bytes)}
	for _, line := range v.lines {
		key, rest, _ := strings.Cut(line, ": ")
		f := fields(rest)
		last := len(j.Frames) - 1
		switch key {
		case "frame":
			j.Frames = append(j.Frames, jsonFrame{
				Type: f["type"], Flags: number(f["flags"]), Size: number(f["size"]), Count: number(f["count"]), Stream: number(f["stream"]),
				Time: int64(number(f["time"])), Source: f["source"], Sequence: f["sequence"], Position: f["position"],
			})
		case "sampled":
			skipped := number(f["skipped"])
			j.Frames[last].Skipped = &skipped
		case "event":
			e := jsonEvent{Content: f["content"], User: f["user"], At: number(f["at"]), Dwell: number(f["dwell"]), Kind: f["kind"]}
			if f["progress"] != "-" {
				progress := number(f["progress"])
				e.Progress = &progress
			}
			j.Frames[last].Events = append(j.Frames[last].Events, e)
		case "name":
			j.Frames[last].Names = append(j.Frames[last].Names, jsonName{f["content"], f["attribute"], f["text"]})
		case "hello":
			j.Frames[last].Hello = f
		case "ack":
			j.Frames[last].Ack = f
		case "refusal":
			j.Frames[last].Refusal = f
		case "seal":
			j.Frames[last].Seal = f
		case "rest":
			j.Rest = number(rest)
		default:
			t.Fatalf("%s: no place for %q", v.name, line)
		}
	}
	return j
}

// allJSON is the file that has all vectors.
func allJSON(t *testing.T) []byte {
	t.Helper()
	var all struct {
		Schema  string       `json:"$schema"`
		Version int          `json:"version"`
		Vectors []jsonVector `json:"vectors"`
	}
	all.Schema, all.Version = "vectors.schema.json", 1
	for _, v := range cases() {
		all.Vectors = append(all.Vectors, v.json(t))
	}
	slices.SortFunc(all.Vectors, func(a, b jsonVector) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The JSON file has what the files of the vectors have.
func TestVectorsJSON(t *testing.T) {
	want := allJSON(t)
	if *update {
		if err := os.WriteFile(vectorsJSON, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorsJSON)
	if err != nil || !bytes.Equal(have, want) {
		t.Fatalf("%s is not what the vectors are (%v); write it with -update", vectorsJSON, err)
	}
	var file struct{ Vectors []jsonVector }
	if err := json.Unmarshal(have, &file); err != nil {
		t.Fatal(err)
	}
	read := readVectors(t)
	slices.SortFunc(read, func(a, b vector) int { return strings.Compare(a.name, b.name) })
	if len(file.Vectors) != len(read) {
		t.Fatalf("%d vectors in %s, and %d files", len(file.Vectors), vectorsJSON, len(read))
	}
	for i, v := range read {
		if j := file.Vectors[i]; j.Name != v.name || j.Bytes != hex.EncodeToString(v.bytes) || j.Expect != v.expect {
			t.Errorf("%s is not as its file", v.name)
		}
	}
}

// It is as its schema says, and the schema notices what is not.
func TestVectorsSchema(t *testing.T) {
	var schema map[string]any
	var file any
	for name, into := range map[string]any{vectorsSchema: &schema, vectorsJSON: &file} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if wrong := conforms(schema, schema, file, "$"); len(wrong) > 0 {
		t.Errorf("%d faults, the first: %s", len(wrong), wrong[0])
	}
	first := file.(map[string]any)["vectors"].([]any)[0].(map[string]any)
	for key, value := range map[string]any{"bytes": "4G", "minimal": "no", "frames": 1.0, "extra": 1.0, "name": nil} {
		before, had := first[key]
		if first[key] = value; value == nil {
			delete(first, key)
		}
		if len(conforms(schema, schema, file, "$")) == 0 {
			t.Errorf("the schema takes %s = %v", key, value)
		}
		if first[key] = before; !had {
			delete(first, key)
		}
	}
}

// conforms checks a value against the few words of JSON Schema that the schema
// uses, and says what is wrong.
func conforms(root, schema map[string]any, value any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	fault := func(format string, args ...any) { wrong = append(wrong, at+": "+fmt.Sprintf(format, args...)) }
	if types, ok := schema["type"]; ok && !slices.Contains(strings.Fields(strings.Trim(fmt.Sprint(types), "[]")), typeOf(value)) {
		fault("%v is no %v", value, types)
		return wrong
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
		fault("%v is none of %v", value, enum)
	}
	switch v := value.(type) {
	case string:
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			fault("%q does not match %s", v, pattern)
		}
	case float64:
		if most, ok := schema["maximum"].(float64); ok && v > most {
			fault("%v is above %v", v, most)
		}
		if least, ok := schema["minimum"].(float64); ok && v < least {
			fault("%v is below %v", v, least)
		}
	case []any:
		for i, item := range v {
			wrong = append(wrong, conforms(root, schema["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				fault("%v is missing", key)
			}
		}
		for key, item := range v {
			if property, ok := properties[key].(map[string]any); ok {
				wrong = append(wrong, conforms(root, property, item, at+"."+key)...)
			} else {
				fault("%s has no place", key)
			}
		}
	}
	return wrong
}

// typeOf is what JSON Schema calls the type of a value.
func typeOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
