package scene

import (
	"context"
	"fmt"
	"time"

	"homeconf/src/model"
)

// milestones are the events that end a step of a new box's way, in order, and
// what the step was.
var milestones = []struct{ kind, step string }{
	{"device.adopted", "the yes is on disk"},
	{"device.connected", "the box has stored its home"},
	{"device.reported", "it has reported"},
	{"device.planned", "planned, and recorded"},
	{"gateway.verified", "gateway written, dnsmasq restarted, all read back"},
	{"device.asked", "the box is asked"},
	{"device.applied", "applied, proven at Layer 2 and 3"},
	{"device.configured", "confirmed, and stored on both sides"},
}

// Step is a part of a box's way and the time that it took.
type Step struct {
	What string
	Took time.Duration
}

// Timeline says where the time went, from the yes on until the box was
// configured. Times are those of the configurator's history.
func (h *Home) Timeline(ctx context.Context, id model.DeviceID, yes time.Time) ([]Step, error) {
	events, err := h.Events(ctx, id)
	if err != nil {
		return nil, err
	}
	var steps []Step
	last := yes
	for _, m := range milestones {
		at := time.Time{}
		for _, e := range events {
			if e.Kind == m.kind && !e.Time.Before(yes) {
				at = e.Time
				break
			}
		}
		if at.IsZero() {
			return nil, fmt.Errorf("%s: its history has no %s since the yes", id, m.kind)
		}
		steps = append(steps, Step{m.step, at.Sub(last)})
		last = at
	}
	return steps, nil
}

// Come plugs a box in, whose agent runs and which nobody has seen before, lets
// it in by its digits, and says how long it took until it was configured and
// verified, and where that time went. The person's own time is not in it: in
// that, the addresses are probed.
func (b *Box) Come(ctx context.Context) (time.Duration, []Step, error) {
	plugged := time.Now()
	if err := b.PlugIn(); err != nil {
		return 0, nil, err
	}
	st, err := b.Digits(ctx)
	if err != nil {
		return 0, nil, err
	}
	found := time.Since(plugged)
	select {
	case <-time.After(Listen + 300*time.Millisecond):
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	yes := time.Now()
	if err := b.Home.Adopt(ctx, b); err != nil {
		return 0, nil, err
	}
	if _, err := b.Home.Configured(ctx, st.Device); err != nil {
		return 0, nil, err
	}
	took := found + time.Since(yes)
	steps, err := b.Home.Timeline(ctx, st.Device, yes)
	return took, append([]Step{{"found at Layer 2, handshake, digits", found}}, steps...), err
}
