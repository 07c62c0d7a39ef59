package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"homeconf/src/calls"
)

// Every call of the table has a printer for the very type of its result.
func TestPrintersMatchTable(t *testing.T) {
	want := map[string]bool{}
	for _, c := range calls.Table {
		want[c.Name] = true
		show, ok := printers[c.Name]
		if !ok {
			t.Errorf("%s: no printer", c.Name)
			continue
		}
		// A result with every field set must decode strictly into what the
		// printer decodes to: show is given it, and prints something.
		v := reflect.New(reflect.TypeOf(c.Result)).Elem()
		fill(v, "text")
		raw, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := show(&b, raw); err != nil || b.Len() == 0 {
			t.Errorf("%s: prints %q, %v", c.Name, b.String(), err)
		}
		// And an empty one does no harm.
		raw, _ = json.Marshal(c.Result)
		if err := show(&b, raw); err != nil {
			t.Errorf("%s: empty result: %v", c.Name, err)
		}
	}
	for name := range printers {
		if !want[name] {
			t.Errorf("%s: printed, but no call", name)
		}
	}
}

// fill sets every string that can be reached to s, and makes one element of
// every list.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(2)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(2)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), s)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, s)
		fill(value, s)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1700000000, 5e6)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), s)
			}
		}
	}
}

// Whatever a device calls itself, no byte of it acts on the terminal.
func TestHostileTextDoesNothing(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;owned\x07\u202eevil\u2066\u200b\r\n\t\u0085\u009b31m\x7f\U000e0041"
	for _, c := range calls.Table {
		v := reflect.New(reflect.TypeOf(c.Result)).Elem()
		fill(v, hostile)
		raw, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := printers[c.Name](&b, raw); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		var j bytes.Buffer
		if err := printJSON(&j, json.RawMessage(raw)); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		for _, out := range []string{b.String(), j.String()} {
			for _, r := range out {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Fatalf("%s: %U in\n%q", c.Name, r, out)
				}
			}
		}
		// The JSON still says the same.
		var before, after any
		json.Unmarshal(raw, &before)
		if err := json.Unmarshal(j.Bytes(), &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("%s: JSON changed: %v", c.Name, err)
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"Bob's TV ☂ Größe": "Bob's TV ☂ Größe",
		"a\x1b[31mb":       `a\u001b[31mb`,
		"a\nb\tc":          `a\u000ab\u0009c`,
		"a\xffb":           `a\xffb`,
		"\uFFFD":           "\uFFFD",
		"\u202e\u200f":     `\u202e\u200f`,
		"\U000e0041":       `\U000e0041`,
	} {
		if got := safe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := cell(strings.Repeat("ä", 50), 10); got != strings.Repeat("ä", 9)+"…" {
		t.Errorf("cut to %q", got)
	}
}

func TestParseCall(t *testing.T) {
	const id = "d0123456789"
	for _, tt := range []struct {
		line   []string
		args   calls.Args
		json   bool
		runDir string
		err    string
	}{
		{line: []string{"status"}, args: calls.Args{}},
		{line: []string{"status", "--json"}, args: calls.Args{}, json: true},
		{line: []string{"status", "--run-dir", "/tmp/x"}, args: calls.Args{}, runDir: "/tmp/x"},
		{line: []string{"device", "adopt", id, "--code", "482913"}, args: calls.Args{"id": id, "code": "482913"}},
		{line: []string{"device", "adopt", "--code=482913", "--json", id}, args: calls.Args{"id": id, "code": "482913"}, json: true},
		{line: []string{"device", "set", id, "--name", "", "--category", "AV_STB"}, args: calls.Args{"id": id, "name": "", "category": "AV_STB"}},
		{line: []string{"device", "set", "--name", "-x", "--", id}, args: calls.Args{"id": id, "name": "-x"}},
		{line: []string{"pair"}, args: calls.Args{}},
		{line: []string{"pair", "--for", "30s"}, args: calls.Args{"for": 30 * time.Second}},
		{line: []string{"agent", "reset", "--yes"}, args: calls.Args{"yes": true}},
		{line: []string{"agent", "approve", "482913"}, args: calls.Args{"digits": "482913"}},
		{line: []string{"event", "list", "--limit", "5"}, args: calls.Args{"limit": int64(5)}},

		{line: []string{"status", "now"}, err: `"now" is too much`},
		{line: []string{"status", "--nonsense"}, err: "nonsense"},
		{line: []string{"device", "adopt"}, err: "ID is missing; --code is missing"},
		{line: []string{"device", "adopt", "x", "--code", "12"}, err: "code: want exactly six digits"},
		{line: []string{"device", "show", id, id}, err: "is too much"},
		{line: []string{"pair", "--for", "soon"}, err: "no duration"},
		{line: []string{"pair", "--for"}, err: "needs an argument"},
		{line: []string{"agent", "reset"}, err: "--yes is missing"},
		{line: []string{"status", "-json", "--run-dir=/tmp/x=y"}, args: calls.Args{}, json: true, runDir: "/tmp/x=y"},
		{line: []string{"status", "--json=false"}, args: calls.Args{}},
		{line: []string{"status", "--json=maybe"}, err: "--json takes no value"},
		{line: []string{"status", "-"}, err: `"-" is too much`},
		{line: []string{"status", "---json"}, err: "no flag"},
		{line: []string{"status", "--=x"}, err: "no flag"},
		{line: []string{"status", "-h"}, err: errHelp.Error()},
		{line: []string{"device", "adopt", "x", "--id", "x", "--code", "123456"}, err: "no flag --id"},
		{line: []string{"agent", "reset", "--yes=no"}, err: `"no" is no`},
		{line: []string{"status", "--help"}, err: errHelp.Error()},
	} {
		c, rest, ok := calls.Find(tt.line)
		if !ok {
			t.Fatalf("%q: no call", tt.line)
		}
		req, err := parseCall(c, rest)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want one with %q", tt.line, err, tt.err)
			}
			continue
		}
		if tt.runDir == "" {
			tt.runDir = defaultRunDir
		}
		if err != nil || !maps.Equal(req.args, tt.args) || req.json != tt.json || req.runDir != tt.runDir {
			t.Errorf("%q: %+v, %v; want %v", tt.line, req, err, tt.args)
		}
	}
}

// Each example of the table is taken by the parser.
func TestExamplesParse(t *testing.T) {
	for _, c := range calls.Table {
		words := strings.Fields(strings.ReplaceAll(c.Example, `"Living room"`, "Living_room"))[1:]
		found, rest, ok := calls.Find(words)
		if !ok || found.Name != c.Name {
			t.Errorf("%s: is another call", c.Example)
			continue
		}
		if _, err := parseCall(found, rest); err != nil {
			t.Errorf("%s: %v", c.Example, err)
		}
	}
}

// command runs a command line as main does.
func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"", exitUsage, "", "homeconf configurator"},
		{"help", exitDone, "homeconf device adopt ID --code NNNNNN", ""},
		{"--help", exitDone, "homeconf event list", ""},
		{"help pair", exitDone, "--for TIME", ""},
		{"help device", exitDone, "homeconf device refuse ID", ""},
		{"help configurator", exitDone, "--state-dir DIR", ""},
		{"agent --help", exitDone, "--log-level LEVEL", ""},
		{"device show --help", exitDone, "Example: homeconf device show", ""},
		{"help nonsense", exitUsage, "", "no command nonsense"},
		{"version", exitDone, version, ""},
		{"version 2", exitUsage, "", "takes no arguments"},
		{"nonsense", exitUsage, "", "no command nonsense"},
		{"device", exitUsage, "", "no command device"},
		{"device adopt x", exitUsage, "", "Usage: homeconf device adopt ID --code NNNNNN"},
		{"configurator --nonsense", exitUsage, "", "nonsense"},
		{"configurator now", exitUsage, "", `no command "now"`},
		{"agent --log-level loud", exitUsage, "", "log-level"},
		{"status --run-dir " + dir, exitFailed, "", "is `homeconf configurator` running?"},
		{"agent status --run-dir " + dir, exitFailed, "", "is `homeconf agent` running?"},
		{"status --json --run-dir " + dir, exitFailed, `"code": "failed"`, "running?"},
	} {
		code, stdout, stderr := command(strings.Fields(tt.line)...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
			tt.stdout == "" && stdout != "" || tt.stderr == "" && stderr != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q", tt.line, code, stdout, stderr)
		}
	}
}

// The whole way, through a socket and back.
func TestCommandAgainstServer(t *testing.T) {
	dir := t.TempDir()
	srv, err := calls.Listen(calls.SocketPath(dir, calls.Configurator), calls.Configurator)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- srv.Serve(ctx, func(_ context.Context, name string, args calls.Args) (any, error) {
			switch name {
			case "device_adopt":
				if args.String("code") != "482913" {
					return nil, calls.Errorf(calls.PermissionDenied, "these are not the digits that the device shows")
				}
				return calls.DeviceSummary{ID: args.Device("id"), Name: "Box\x1b[31m"}, nil
			case "pair":
				return calls.PairResult{Open: true, Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local).Add(args.Duration("for"))}, nil
			}
			return nil, calls.Errorf(calls.NotFound, "no such thing")
		})
	}()
	defer func() { cancel(); <-ended }()
	for _, tt := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"device adopt d0123456789 --code 482913", exitDone, "Box\\u001b[31m is let in, as d0123456789.\n", ""},
		{"device adopt d0123456789 --code 000000", exitFailed, "", "homeconf device adopt: these are not the digits that the device shows\n"},
		{"pair", exitDone, "The pairing window is open until 2026-01-02 03:06:05 for one device.\n", ""},
		{"pair --for 10s", exitDone, "The pairing window is open until 2026-01-02 03:04:15 for one device.\n", ""},
		{"plan --json", exitFailed, "{\n  \"error\": {\n    \"code\": \"not_found\",\n    \"message\": \"no such thing\"\n  }\n}\n", "homeconf plan: no such thing\n"},
	} {
		code, stdout, stderr := command(slices.Concat(strings.Fields(tt.line), []string{"--run-dir", dir})...)
		if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
			t.Errorf("%q: code %d, stdout %q, stderr %q", tt.line, code, stdout, stderr)
		}
	}
}
