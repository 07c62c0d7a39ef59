package main

import (
	"fmt"
	"io"
	"strings"

	"homeconf/src/calls"
)

// printHelp lists the commands.
func printHelp(w io.Writer) {
	fmt.Fprint(w, `homeconf configures a home network by itself.

The daemons:
  homeconf configurator   on the home gateway
  homeconf agent          on a device

`)
	for _, part := range []struct {
		title  string
		daemon calls.Daemon
	}{
		{"At the gateway:", calls.Configurator},
		{"At a device:", calls.Agent},
	} {
		fmt.Fprintln(w, part.title)
		var rows [][]string
		for i := range calls.Table {
			if c := &calls.Table[i]; c.Daemon == part.daemon {
				rows = append(rows, []string{"  homeconf " + synopsis(c), firstSentence(c.Help)})
			}
		}
		columns(w, rows)
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, `Elsewhere:
  homeconf help COMMAND   more about a command
  homeconf version        the version

Every command takes --json, for scripts, and --run-dir DIR.
Exit codes: 0 done, 1 failed, 2 wrong usage.
`)
}

// synopsis is a call's words with what must follow them.
func synopsis(c *calls.Call) string {
	s := strings.Join(c.Words, " ")
	for _, a := range c.Args {
		switch {
		case a.Positional && a.Required:
			s += " " + a.Value
		case a.Positional:
			s += " [" + a.Value + "]"
		case a.Required && a.Kind == calls.Bool:
			s += " --" + a.Flag()
		case a.Required:
			s += " --" + a.Flag() + " " + a.Value
		}
	}
	return s
}

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// printCallHelp says all that the table knows of a call.
func printCallHelp(w io.Writer, c *calls.Call) {
	fmt.Fprintf(w, "homeconf %s", synopsis(c))
	optional := false
	for _, a := range c.Args {
		optional = optional || !a.Positional && !a.Required
	}
	if optional {
		fmt.Fprint(w, " [FLAGS]")
	}
	fmt.Fprintf(w, "\n\n%s\n\n", c.Help)
	var rows [][]string
	for _, a := range c.Args {
		name := a.Value
		if !a.Positional {
			name = strings.TrimSpace("--" + a.Flag() + " " + a.Value)
		}
		help := a.Help
		if a.Default != nil {
			help += fmt.Sprintf(" (default %v)", a.Default)
		}
		rows = append(rows, []string{"  " + name, help})
	}
	columns(w, append(rows,
		[]string{"  --json", "the answer as JSON, for scripts"},
		[]string{"  --run-dir DIR", "where the daemon's socket is (default " + defaultRunDir + ")"}))
	fmt.Fprintf(w, "\nExample: %s\n", c.Example)
}

func runHelp(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printHelp(stdout)
		return exitDone
	}
	// The words of a call, or the first of them.
	if call, rest, ok := calls.Find(args); ok && len(rest) == 0 {
		printCallHelp(stdout, call)
		return exitDone
	}
	if len(args) == 1 {
		if d := calls.Daemon(args[0]); d == calls.Configurator || d == calls.Agent {
			printDaemonHelp(stdout, d)
			return exitDone
		}
		found := false
		for i := range calls.Table {
			if c := &calls.Table[i]; c.Words[0] == args[0] {
				fmt.Fprintf(stdout, "homeconf %s\n    %s\n", synopsis(c), c.Help)
				found = true
			}
		}
		if found {
			return exitDone
		}
	}
	fmt.Fprintf(stderr, "homeconf help: no command %s: see `homeconf help`\n", cell(strings.Join(args, " "), 40))
	return exitUsage
}
