package calls

import (
	"encoding"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/results.golden anew")

// Scripts read these keys. A line that is added to the golden file is a new
// key; one that changes or goes breaks somebody's script.
func TestResultsAreStable(t *testing.T) {
	var b strings.Builder
	for _, c := range Table {
		shape(&b, c.Name, reflect.TypeOf(c.Result), "")
	}
	const golden = "testdata/results.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() == string(want) {
		return
	}
	have := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		have[line] = true
	}
	for line := range strings.Lines(string(want)) {
		if !have[line] {
			t.Errorf("no more: %s", strings.TrimSpace(line))
		}
		delete(have, line)
	}
	for line := range have {
		t.Errorf("new (go test ./src/calls -update): %s", strings.TrimSpace(line))
	}
}

// shape writes a line for every key that a result can have: its path and what
// it is in JSON.
func shape(b *strings.Builder, path string, t reflect.Type, opt string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	text := reflect.TypeFor[encoding.TextMarshaler]()
	switch {
	case t.Implements(text) || t.Kind() == reflect.String:
		fmt.Fprintln(b, path, "string"+opt)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			o := ""
			if strings.Contains(opts, "omit") {
				o = " optional"
			}
			if f.Anonymous && name == "" {
				shape(b, path, f.Type, o)
			} else {
				shape(b, path+"."+name, f.Type, o)
			}
		}
	case reflect.Slice:
		shape(b, path+"[]", t.Elem(), opt)
	case reflect.Map:
		shape(b, path+".*", t.Elem(), opt)
	case reflect.Bool:
		fmt.Fprintln(b, path, "bool"+opt)
	default:
		fmt.Fprintln(b, path, "number"+opt)
	}
}
