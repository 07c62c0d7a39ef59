package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"homeconf/src/calls"
)

// endTimeout is how long a daemon has to end after SIGTERM. What it may lose
// then is what it would lose at a power cut: nothing.
const endTimeout = 900 * time.Millisecond

// daemonFlags are what both daemons take.
type daemonFlags struct {
	configDir, stateDir, runDir, iface, bus string
	level                                   slog.LevelVar
}

// daemonFlag is one of them, with what it takes and where its value goes.
type daemonFlag struct {
	name, value, def, help string
	to                     *string
}

func (f *daemonFlags) table() []daemonFlag {
	return []daemonFlag{
		{"config-dir", "DIR", "/etc/config", "UCI files are in DIR (default /etc/config)", &f.configDir},
		{"interface", "NAME", "", "the interface NAME to speak on (default: as UCI says)", &f.iface},
		{"log-level", "LEVEL", "INFO", "the least LEVEL that is logged: debug, info, warn or error (default INFO)", nil},
		{"run-dir", "DIR", defaultRunDir, "the socket is made in DIR (default " + defaultRunDir + ")", &f.runDir},
		{"state-dir", "DIR", "/etc/homeconf", "keys and records are kept in DIR (default /etc/homeconf)", &f.stateDir},
		{"ubus", "SOCKET", "", "ubusd's SOCKET, or none (default: where OpenWrt has it)", &f.bus},
	}
}

// parse reads the flags; fixed says that the level was given among them.
func (f *daemonFlags) parse(words []string) (fixed bool, err error) {
	table := f.table()
	given, places, err := parseFlags(words, func(name string) (known, isSwitch bool) {
		return slices.ContainsFunc(table, func(d daemonFlag) bool { return d.name == name }), false
	})
	if err != nil {
		return false, err
	}
	if len(places) > 0 {
		return false, fmt.Errorf("no command %.40q", places[0])
	}
	for _, d := range table {
		value, ok := given[d.name]
		if !ok {
			value = d.def
		}
		if d.to != nil {
			*d.to = value
			continue
		}
		fixed = ok
		if err := f.level.UnmarshalText([]byte(value)); err != nil {
			return false, fmt.Errorf("--%s: want debug, info, warn or error", d.name)
		}
	}
	return fixed, nil
}

func printDaemonHelp(w io.Writer, d calls.Daemon) {
	where := "on the home gateway: lets devices in, and configures them and the gateway"
	if d == calls.Agent {
		where = "on a device: finds the home's configurator, reports to it, and does what it asks"
	}
	fmt.Fprintf(w, "homeconf %s [FLAGS]\n\nRuns %s.\n\n", d, where)
	var rows [][]string
	for _, f := range new(daemonFlags).table() {
		rows = append(rows, []string{"  --" + f.name + " " + f.value, f.help})
	}
	columns(w, rows)
	fmt.Fprint(w, "\nSIGHUP makes it read its options again, SIGTERM ends it.\n")
}

// runDaemon runs a daemon until a signal ends it.
func runDaemon(d calls.Daemon, args []string, stdout, stderr io.Writer) int {
	var f daemonFlags
	fixed, err := f.parse(args)
	switch {
	case errors.Is(err, errHelp):
		printDaemonHelp(stdout, d)
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "homeconf %s: %s: see `homeconf help %s`\n", d, safe(err.Error()), d)
		return exitUsage
	}
	// A level given on the command line beats the one that a daemon reads from
	// its options and sets.
	level := slog.Leveler(&f.level)
	if fixed {
		level = f.level.Level()
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	ctx, reload, stop := signals(log)
	defer stop()
	go returnMemory(ctx)
	if err := daemons[d](ctx, &f, log, reload); err != nil {
		// Options may have ten errors: a line each.
		for line := range strings.Lines(err.Error()) {
			log.Error("daemon failed", "daemon", string(d), "error", strings.TrimSpace(line))
		}
		return exitFailed
	}
	return exitDone
}

// signals turns SIGTERM and SIGINT into the end of the context, and SIGHUP into
// a value on the channel; several that come close together are one.
func signals(log *slog.Logger) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	reload := make(chan struct{}, 1)
	heard := make(chan os.Signal, 4)
	signal.Notify(heard, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var late *time.Timer
		for s := range heard {
			if s == syscall.SIGHUP {
				select {
				case reload <- struct{}{}:
				default:
				}
				continue
			}
			cancel()
			if late != nil {
				continue
			}
			late = time.AfterFunc(endTimeout, func() {
				log.Error("daemon did not end in time", "timeout", endTimeout)
				os.Exit(exitFailed)
			})
		}
		if late != nil {
			late.Stop()
		}
	}()
	return ctx, reload, func() {
		signal.Stop(heard)
		close(heard)
		<-ended
		cancel()
	}
}
