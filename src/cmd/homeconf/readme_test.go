package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/options"
	"homeconf/src/plan"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block is the table that follows a marker in the README.
func block(t *testing.T, text, marker string) string {
	t.Helper()
	_, after, ok := strings.Cut(text, "<!-- "+marker+" -->\n")
	if !ok {
		t.Fatalf("README has no marker %q", marker)
	}
	table, _, _ := strings.Cut(after, "\n\n")
	return table + "\n"
}

// The README names every command, and none that isn't one.
func TestReadmeCommands(t *testing.T) {
	text := readme(t)
	for _, c := range calls.Table {
		if row := "| `homeconf " + synopsis(&c) + "` |"; !strings.Contains(text, row) {
			t.Errorf("README has no row %s", row)
		}
		for _, a := range c.Args {
			if !a.Positional && !strings.Contains(text, "--"+a.Name) {
				t.Errorf("README doesn't say --%s of %s", a.Name, c.Name)
			}
		}
	}
	for line := range strings.Lines(text) {
		words, ok := strings.CutPrefix(line, "| `homeconf ")
		if !ok {
			continue
		}
		words, _, _ = strings.Cut(words, "`")
		if _, _, ok := calls.Find(strings.Fields(words)); !ok {
			t.Errorf("README has the command %q, which there is not", words)
		}
	}
}

func TestReadmeProfiles(t *testing.T) {
	var want strings.Builder
	want.WriteString("| profile | categories | address | traffic class (RFC 4594) | multicast | needs from the WAN |\n|---|---|---|---|---|---|\n")
	byName := plan.BuiltinProfiles()
	text := block(t, readme(t), "profiles")
	// In the README's order, which is of use to a reader and to nobody else.
	for line := range strings.Lines(text) {
		fields := strings.Split(line, "`")
		if len(fields) < 2 {
			continue
		}
		p, ok := byName[fields[1]]
		if !ok {
			t.Errorf("README has a profile %s, which there is not", fields[1])
			continue
		}
		delete(byName, p.Name)
		categories := make([]string, len(p.Categories))
		for i, c := range p.Categories {
			categories[i] = "`" + string(c) + "`"
		}
		if len(categories) == 0 {
			categories = []string{"every other"}
		}
		fmt.Fprintf(&want, "| `%s` | %s | `%s` | `%s` | %s| %s|\n", p.Name, strings.Join(categories, ", "), p.Address, p.Class,
			yes(p.Multicast, "yes ", ""), needs(p))
	}
	for name := range byName {
		t.Errorf("README doesn't have the profile %s", name)
	}
	if text != want.String() {
		t.Errorf("README has\n%s\nthe profiles are\n%s", text, want.String())
	}
}

func needs(p model.Profile) string {
	switch {
	case p.DownMbps > 0 && p.UpMbps > 0:
		return fmt.Sprintf("%d Mbit/s down, %d up ", p.DownMbps, p.UpMbps)
	case p.DownMbps > 0:
		return fmt.Sprintf("%d Mbit/s down ", p.DownMbps)
	case p.UpMbps > 0:
		return fmt.Sprintf("%d Mbit/s up ", p.UpMbps)
	}
	return ""
}

func TestReadmeOptions(t *testing.T) {
	var want strings.Builder
	want.WriteString("| section | option | values | default | what it is |\n|---|---|---|---|---|\n")
	for _, o := range options.Table {
		kind, def := "option", ""
		if o.List {
			kind = "list"
		}
		if o.Default != "" {
			def = "`" + o.Default + "` "
		}
		fmt.Fprintf(&want, "| `%s` | `%s %s` | %s | %s| %s |\n", o.Section, kind, o.Name, o.Values(), def, o.Help)
	}
	if got := block(t, readme(t), "options"); got != want.String() {
		t.Errorf("README has\n%s\nthe options are\n%s", got, want.String())
	}
}

// What the README shows in shell blocks of homeconf's is understood.
func TestReadmeExamples(t *testing.T) {
	seen := 0
	for line := range strings.Lines(readme(t)) {
		words := strings.Fields(strings.TrimSpace(strings.ReplaceAll(line, `"Living room"`, "Living_room")))
		if len(words) < 2 || words[0] != "homeconf" || !slices.Contains([]string{"device", "status", "pair", "configurator", "agent"}, words[1]) {
			continue
		}
		seen++
		if c, rest, ok := calls.Find(words[1:]); ok {
			if _, err := parseCall(c, rest); err != nil {
				t.Errorf("README: %s: %v", line, err)
			}
			continue
		}
		if _, err := new(daemonFlags).parse(words[2:]); err != nil {
			t.Errorf("README: %s: %v", line, err)
		}
	}
	if seen < 4 {
		t.Errorf("only %d examples were found", seen)
	}
}
