package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
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

func (f *daemonFlags) set(d calls.Daemon) *flag.FlagSet {
	fs := flag.NewFlagSet("homeconf "+string(d), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&f.configDir, "config-dir", "/etc/config", "UCI files are in `DIR`")
	fs.StringVar(&f.stateDir, "state-dir", "/etc/homeconf", "keys and records are kept in `DIR`")
	fs.StringVar(&f.runDir, "run-dir", defaultRunDir, "the socket is made in `DIR`")
	fs.StringVar(&f.iface, "interface", "", "the interface `NAME` to speak on (default: as UCI says)")
	fs.StringVar(&f.bus, "ubus", "", "ubusd's `SOCKET`, or none (default: where OpenWrt has it)")
	fs.TextVar(&f.level, "log-level", &f.level, "the least `LEVEL` that is logged: debug, info, warn or error")
	return fs
}

func printDaemonHelp(w io.Writer, d calls.Daemon) {
	where := "on the home gateway: lets devices in, and configures them and the gateway"
	if d == calls.Agent {
		where = "on a device: finds the home's configurator, reports to it, and does what it asks"
	}
	fmt.Fprintf(w, "homeconf %s [FLAGS]\n\nRuns %s.\n\n", d, where)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	new(daemonFlags).set(d).VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		if f.DefValue != "" {
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(t, "  --%s %s\t%s\n", f.Name, value, usage)
	})
	t.Flush()
	fmt.Fprint(w, "\nSIGHUP makes it read its options again, SIGTERM ends it.\n")
}

// runDaemon runs a daemon until a signal ends it.
func runDaemon(d calls.Daemon, args []string, stdout, stderr io.Writer) int {
	var f daemonFlags
	fs := f.set(d)
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("no command %.40q", fs.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		printDaemonHelp(stdout, d)
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "homeconf %s: %s: see `homeconf help %s`\n", d, safe(err.Error()), d)
		return exitUsage
	}
	// A level given on the command line beats the one that a daemon reads from
	// its options and sets.
	level := slog.Leveler(&f.level)
	fs.Visit(func(given *flag.Flag) {
		if given.Name == "log-level" {
			level = f.level.Level()
		}
	})
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	ctx, reload, stop := signals(log)
	defer stop()
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
