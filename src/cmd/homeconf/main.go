// Command homeconf is both daemons, and the commands that people and scripts
// talk to them with.
//
//	homeconf configurator   on the home gateway
//	homeconf agent          on a device
//	homeconf help           the commands
package main

import (
	"fmt"
	"io"
	"os"

	"homeconf/src/calls"
)

// version is set by the linker.
var version = "unknown"

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// defaultRunDir is where the daemons' sockets are.
const defaultRunDir = "/var/run/homeconf"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run does what the words of the command line say.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	// Calls come first: `homeconf agent status` is one, `homeconf agent` is
	// the daemon.
	if call, rest, ok := calls.Find(args); ok {
		return runCall(call, rest, stdout, stderr)
	}
	switch args[0] {
	case string(calls.Configurator), string(calls.Agent):
		return runDaemon(calls.Daemon(args[0]), args[1:], stdout, stderr)
	case "version", "--version", "-version":
		if len(args) > 1 {
			fmt.Fprintln(stderr, "homeconf version: takes no arguments")
			return exitUsage
		}
		fmt.Fprintln(stdout, version)
		return exitDone
	case "help", "--help", "-help", "-h":
		return runHelp(args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "homeconf: no command %s: see `homeconf help`\n", cell(args[0], 40))
	return exitUsage
}
