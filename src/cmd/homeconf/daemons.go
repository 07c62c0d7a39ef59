package main

import (
	"context"
	"log/slog"

	"homeconf/src/agent"
	"homeconf/src/calls"
	"homeconf/src/configurator"
)

// daemons construct and run, one call each.
var daemons = map[calls.Daemon]func(context.Context, *daemonFlags, *slog.Logger, <-chan struct{}) error{
	calls.Configurator: func(ctx context.Context, f *daemonFlags, log *slog.Logger, reload <-chan struct{}) error {
		return configurator.Run(ctx, configurator.Config{ConfigDir: f.configDir, StateDir: f.stateDir, RunDir: f.runDir, Interface: f.iface,
			Bus: f.bus, Version: version, LogLevel: &f.level, Log: log, Reload: reload, Step: crashStep()})
	},
	calls.Agent: func(ctx context.Context, f *daemonFlags, log *slog.Logger, reload <-chan struct{}) error {
		return agent.Run(ctx, agent.Config{ConfigDir: f.configDir, StateDir: f.stateDir, RunDir: f.runDir, Interface: f.iface,
			Bus: f.bus, Version: version, LogLevel: &f.level, Log: log, Reload: reload, Step: crashStep()})
	},
}
