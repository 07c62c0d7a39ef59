package agent

import (
	"context"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/session"
)

// Call answers what people ask at the device; it is a calls.Handler.
func (a *Agent) Call(ctx context.Context, name string, args calls.Args) (any, error) {
	switch name {
	case "agent_approve":
		if err := a.speak.who().Approve(args.String("digits")); err != nil {
			return nil, calls.Errorf(calls.PermissionDenied, "%w", err)
		}
		return calls.DoneResult{Text: "The home was approved."}, nil
	case "agent_status":
		var s calls.AgentStatusResult
		if err := a.ask(ctx, func() { s = a.status() }); err != nil {
			return nil, err // s may be written to yet
		}
		return &s, nil
	case "agent_reset":
		var err error
		if asked := a.ask(ctx, func() { err = a.reset(ctx) }); asked != nil {
			return nil, asked
		}
		if err != nil {
			return nil, calls.Errorf(calls.Failed, "%w", err)
		}
		return calls.DoneResult{Text: "This device has forgotten its home: it is a stranger now."}, nil
	}
	return nil, calls.Errorf(calls.UnknownCall, "no call %q", name)
}

// ask has f carried out by the loop and waits until it is done.
func (a *Agent) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !a.tell(func() { f(); close(done) }) {
		return calls.Errorf(calls.Busy, "%w", errBusy)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) status() calls.AgentStatusResult {
	s := calls.AgentStatusResult{Version: a.cfg.Version, State: calls.AgentSearching, Interface: a.cfg.Interface, MAC: a.mac, LinkUp: a.linkUp,
		Device: model.IDOfKey(model.DeviceKey(a.key.Public())), Digits: a.digits.Code, Homes: a.digits.Homes, Settings: a.keep.Good,
		Commit: a.change.state, Temporary: a.lease.temporary().Address, Problem: a.problem,
		UptimeSeconds: int64(time.Since(a.begun) / time.Second), Counters: a.count.Snapshot()}
	s.Info = a.info()
	if a.keep.Pin != nil {
		s.State = calls.AgentAway
		if k, err := session.ParsePublicKey(a.keep.Pin.Home); err == nil { // it was read at start
			s.Home = k.Fingerprint()
		}
	}
	switch {
	case a.peer != nil:
		s.State, s.Since = calls.AgentConnected, a.since
	case a.digits.Code != "":
		s.State = calls.AgentWaiting
	}
	s.NeedsCode = a.keep.Pin == nil && a.opts.Agent.Code != ""
	if a.keep.Stranded {
		s.Temporary = a.lease.held().Address
		if s.Problem == "" {
			s.Problem = "Home was not heard for a while: an address by DHCP is used, and the fixed settings are kept until home is back."
		}
	}
	if s.Problem == "" && a.digits.Stopped {
		s.Problem = "The digits were shown ten times and nobody compared them. Restart the agent to have them shown again."
	}
	return s
}
