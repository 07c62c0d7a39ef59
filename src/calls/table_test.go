package calls

import (
	"regexp"
	"strings"
	"testing"
)

// The table is what the command line, ubus and the ACL are made from: each
// entry must be whole, and none may hide another.
func TestTable(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	word := regexp.MustCompile(`^[a-z]+$`)
	names, words := map[string]bool{}, map[string]bool{}
	for _, c := range Table {
		if !snake.MatchString(c.Name) || names[c.Name] {
			t.Errorf("%s: not snake_case, or there twice", c.Name)
		}
		names[c.Name] = true
		line := strings.Join(c.Words, " ")
		if line == "" || words[line] {
			t.Errorf("%s: words %q missing, or another call's", c.Name, line)
		}
		words[line] = true
		for _, w := range c.Words {
			if !word.MatchString(w) {
				t.Errorf("%s: word %q", c.Name, w)
			}
		}
		if c.Daemon != Configurator && c.Daemon != Agent {
			t.Errorf("%s: daemon %q", c.Name, c.Daemon)
		}
		if (c.Daemon == Agent) != (c.Words[0] == "agent") {
			t.Errorf("%s: the agent's calls, and only they, start with \"agent\"", c.Name)
		}
		if !strings.HasSuffix(c.Help, ".") || c.Result == nil {
			t.Errorf("%s: help or result is missing", c.Name)
		}
		if !strings.HasPrefix(c.Example, "homeconf "+line) {
			t.Errorf("%s: the example %q doesn't show it", c.Name, c.Example)
		}
		args, optional := map[string]bool{}, false
		for _, a := range c.Args {
			if !snake.MatchString(a.Name) || args[a.Name] || a.Help == "" || (a.Value == "") != (a.Kind == Bool) {
				t.Errorf("%s: argument %q: bad name, there twice, or without help or value", c.Name, a.Name)
			}
			args[a.Name] = true
			if a.Name == "json" || a.Name == "help" || a.Name == "h" || a.Name == "run-dir" {
				t.Errorf("%s: argument %s is a flag of every command", c.Name, a.Name)
			}
			if a.Positional && (a.Kind == Bool || !a.Required && optional) {
				t.Errorf("%s: argument %s can't go by its place", c.Name, a.Name)
			}
			optional = optional || a.Positional && !a.Required
			if a.Default != nil {
				if _, err := a.verify(a.Default); err != nil || a.Required {
					t.Errorf("%s: default of %s: %v", c.Name, a.Name, err)
				}
			}
		}
	}
}

func TestFind(t *testing.T) {
	for _, tt := range []struct{ line, call, rest string }{
		{"status", "status", ""},
		{"pair", "pair", ""},
		{"pair --for 2m", "pair", "--for 2m"},
		{"pair close", "pair_close", ""},
		{"device adopt d1 --code 1", "device_adopt", "d1 --code 1"},
		{"agent status --json", "agent_status", "--json"},
		{"agent --config-dir x", "", ""},
		{"device", "", ""},
		{"", "", ""},
	} {
		c, rest, ok := Find(strings.Fields(tt.line))
		if ok != (tt.call != "") || ok && (c.Name != tt.call || strings.Join(rest, " ") != tt.rest) {
			t.Errorf("%q: found %v, rest %q", tt.line, c, rest)
		}
	}
}
