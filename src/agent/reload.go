package agent

import (
	"context"
	"errors"
	"log/slog"

	"homeconf/src/model"
	"homeconf/src/options"
)

// errAgain says that everything has to be opened anew.
var errAgain = errors.New("options name another interface or way to pair")

// reloadOnDemand reads the options again each time that it is asked to. Options
// with an error are refused whole, and the old ones stay.
func (a *Agent) reloadOnDemand(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-a.cfg.Reload:
			if !ok {
				return nil
			}
		}
		opts, err := options.Load(a.cfg.ConfigDir)
		again := make(chan bool, 1)
		a.surely(func() { again <- a.reloaded(opts, err) })
		select {
		case <-ctx.Done():
			return nil
		case yes := <-again:
			if yes {
				return errAgain
			}
		}
	}
}

// reloaded takes new options over, or says that all has to be opened anew.
func (a *Agent) reloaded(opts *options.Options, err error) (again bool) {
	if err != nil {
		a.note("the settings were not read again: " + err.Error())
		return false
	}
	if a.problem = ""; !model.Same(opts, a.opts) {
		a.log.Info("the settings were read again")
	}
	if opened(opts) != opened(a.opts) {
		return true
	}
	a.opts = opts
	a.useLevel()
	a.deviceChanged()
	return false
}

// opened are the options that the device and the session were opened with.
func opened(o *options.Options) [4]string {
	return [...]string{o.Agent.Interface, string(o.Agent.Pairing), o.Agent.Code, o.Agent.ResolvConf}
}

func (a *Agent) useLevel() {
	if a.cfg.LogLevel != nil {
		var level slog.Level
		if err := level.UnmarshalText([]byte(a.opts.Agent.LogLevel)); err == nil { // the table takes no other
			a.cfg.LogLevel.Set(level)
		}
	}
}
