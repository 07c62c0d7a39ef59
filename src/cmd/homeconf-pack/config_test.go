package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"homeconf/src/options"
)

var update = flag.Bool("update", false, "write golden files and files/etc/config/homeconf anew")

const root = "../../.."

// golden compares with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it):\n%s", name, diff(string(want), got))
	}
}

// diff shows the first line that differs.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(nothing)", "(nothing)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return strings.Join([]string{"want " + a, "got  " + b}, "\n")
		}
	}
	return "the same"
}

// configText is the shipped /etc/config/homeconf: every option there is, with
// its default, as a comment.
func configText() string {
	var b strings.Builder
	b.WriteString(`# homeconf: a home network that configures itself.
#
# Every option has the default that is shown; remove a line's # to change it.
# With the option, then: /etc/init.d/homeconf reload
`)
	section := ""
	for _, o := range options.Table {
		if o.Section != section {
			section = o.Section
			switch section {
			case "configurator":
				b.WriteString("\n# On the home gateway.\nconfig configurator 'configurator'\n")
			case "agent":
				b.WriteString("\n# On a device that has the package homeconf-agent.\nconfig agent 'agent'\n")
			case "service":
				b.WriteString("\n# On a device: one section for each service that its agent shall report.\n#config service 'player'\n")
			case "profile":
				b.WriteString("\n# On the home gateway: a profile of your own, or one with a built-in profile's\n# name, which changes that.\n#config profile 'set_top_box'\n")
			}
		} else {
			b.WriteString("\n")
		}
		kind := "option"
		if o.List {
			kind = "list"
		}
		b.WriteString("\t# " + o.Help + "\n\t# Takes " + o.Values() + ".\n\t#" + kind + " " + o.Name + " '" + o.Default + "'\n")
	}
	return b.String()
}

func TestShippedConfig(t *testing.T) {
	text := configText()
	golden(t, filepath.Join(root, "files/etc/config/homeconf"), text)

	load := func(text string) *options.Options {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, options.Package), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		o, err := options.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := load(text); !reflect.DeepEqual(o, options.Default()) {
		t.Errorf("as shipped: %+v", o)
	}
	// With every # before an option that has a default removed it means the same.
	var all strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "\t#option "); ok && !strings.HasSuffix(line, " ''\n") {
			line = "\toption " + rest
			n++
		}
		all.WriteString(line)
	}
	if o := load(all.String()); n < 10 || !reflect.DeepEqual(o, options.Default()) {
		t.Errorf("with %d lines in force: %+v", n, o)
	}
}
