package main

import (
	"context"
	"log/slog"

	"homeconf/src/agent"
	"homeconf/src/calls"
	"homeconf/src/configurator"
)

func init() {
	daemons[calls.Configurator] = func(ctx context.Context, f *daemonFlags, log *slog.Logger, reload <-chan struct{}) error {
		return configurator.Run(ctx, configurator.Config{ConfigDir: f.configDir, StateDir: f.stateDir, RunDir: f.runDir, Interface: f.iface,
			Version: version, LogLevel: &f.level, Log: log, Reload: reload, Step: crashStep()})
	}
	daemons[calls.Agent] = func(ctx context.Context, f *daemonFlags, log *slog.Logger, reload <-chan struct{}) error {
		return agent.Run(ctx, agent.Config{ConfigDir: f.configDir, StateDir: f.stateDir, RunDir: f.runDir, Interface: f.iface,
			Version: version, LogLevel: &f.level, Log: log, Reload: reload, Step: crashStep()})
	}
}
