package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"homeconf/src/calls"
)

// standIn puts another daemon in a daemon's place for one test.
func standIn(t *testing.T, d calls.Daemon, f func(context.Context, *daemonFlags, *slog.Logger, <-chan struct{}) error) {
	old := daemons[d]
	daemons[d] = f
	t.Cleanup(func() { daemons[d] = old })
}

func TestSignals(t *testing.T) {
	reloads := 0
	standIn(t, calls.Configurator, func(ctx context.Context, f *daemonFlags, log *slog.Logger, reload <-chan struct{}) error {
		if f.configDir != "/tmp/c" || f.stateDir != "/etc/homeconf" || f.runDir != defaultRunDir || f.iface != "br-lan" {
			t.Errorf("flags %+v", f)
		}
		f.level.Set(slog.LevelError) // as options might say
		log.Debug("shown")
		for range 2 {
			syscall.Kill(os.Getpid(), syscall.SIGHUP)
			select {
			case <-reload:
				reloads++
			case <-time.After(5 * time.Second):
				return errors.New("no reload came")
			}
		}
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
			return errors.New("no end came")
		}
	})
	var stderr bytes.Buffer
	code := run(strings.Fields("configurator --config-dir /tmp/c --interface br-lan --log-level debug"), nil, &stderr)
	if code != exitDone || reloads != 2 || !strings.Contains(stderr.String(), "msg=shown") {
		t.Errorf("code %d, %d reloads, log:\n%s", code, reloads, stderr.String())
	}
}

func TestDaemonFails(t *testing.T) {
	standIn(t, calls.Agent, func(context.Context, *daemonFlags, *slog.Logger, <-chan struct{}) error {
		return errors.New("no right to open a socket")
	})
	var stderr bytes.Buffer
	if code := run([]string{"agent"}, nil, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no right to open a socket") {
		t.Errorf("code %d, log:\n%s", code, stderr.String())
	}
}
