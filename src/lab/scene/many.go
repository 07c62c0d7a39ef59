package scene

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/model"
)

// Result is what came of many boxes that were let in at once.
type Result struct {
	Home      *Home
	Boxes     []*Box
	Addresses []netip.Addr // as the boxes have them, sorted
	// Last and Median are from the first yes on until boxes were configured
	// and verified.
	Last, Median time.Duration
	// Restarts counts dnsmasq's, from the first yes on; Reloads what the
	// configurator asked for.
	Restarts, Reloads int
}

// Many plays a home with n boxes, a process each, that are plugged in together
// and let in together. That each has an address of its own, and dnsmasq knows
// it, is proven; how long it took is for the caller to judge.
func Many(ctx context.Context, l *lab.Lab, binary string, n int) (*Result, error) {
	h, err := New(l, binary, World())
	if err != nil {
		return nil, err
	}
	r := &Result{Home: h}
	if err := h.Start(); err != nil {
		return nil, err
	}
	for i := range n {
		b, err := h.NewBox(fmt.Sprintf("box%d", i), fmt.Sprintf("Box %d", i))
		if err != nil {
			return nil, err
		}
		r.Boxes = append(r.Boxes, b)
	}
	if err := h.Ready(ctx); err != nil {
		return nil, err
	}
	for _, b := range r.Boxes {
		if err := b.Start(); err != nil {
			return nil, err
		}
	}
	if err := r.each(func(_ int, b *Box) error { return b.Ready(ctx) }); err != nil {
		return nil, err
	}
	if err := r.each(func(_ int, b *Box) error { return b.PlugIn() }); err != nil {
		return nil, err
	}
	shown := make([]calls.AgentStatusResult, n)
	if err := r.each(func(i int, b *Box) (err error) { shown[i], err = b.Digits(ctx); return err }); err != nil {
		return nil, err
	}
	// The person's time.
	select {
	case <-time.After(Listen + 500*time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r, r.letIn(ctx, shown)
}

// each does something for all boxes side by side.
func (r *Result) each(f func(i int, b *Box) error) error {
	errs := make([]error, len(r.Boxes))
	var wg sync.WaitGroup
	for i, b := range r.Boxes {
		wg.Go(func() { errs[i] = f(i, b) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// letIn says yes to all at once, and proves what came of it.
func (r *Result) letIn(ctx context.Context, shown []calls.AgentStatusResult) error {
	h := r.Home
	before := h.Starts("dnsmasq")
	yes := time.Now()
	if err := r.each(func(i int, _ *Box) error {
		return h.Call(ctx, "device_adopt", calls.Args{"id": string(shown[i].Device), "code": shown[i].Digits}, nil)
	}); err != nil {
		return err
	}
	var list calls.DevicesResult
	if err := Until(ctx, "all boxes to be configured", func() (bool, error) {
		if err := h.Call(ctx, "device_list", nil, &list); err != nil {
			return false, err
		}
		done := 0
		for _, d := range list.Devices {
			if d.Progress == "configured" && d.Online {
				done++
			}
		}
		return done == len(shown), fmt.Errorf("%d of %d are", done, len(shown))
	}); err != nil {
		return err
	}
	r.Restarts = h.Starts("dnsmasq") - before
	events, err := h.Events(ctx, "")
	if err != nil {
		return err
	}
	var took []time.Duration
	for _, e := range events {
		switch {
		case e.Time.Before(yes):
		case e.Kind == "device.configured":
			took = append(took, e.Time.Sub(yes))
		case e.Kind == "gateway.changed":
			r.Reloads += strings.Count(strings.Join(e.Detail, "\n"), "reloaded service: dhcp")
		}
	}
	if len(took) != len(shown) {
		return fmt.Errorf("%d times a box was configured, want once each: %d", len(took), len(shown))
	}
	slices.Sort(took)
	r.Last, r.Median = took[len(took)-1], took[len(took)/2]
	return r.prove(ctx, list.Devices)
}

// prove looks from outside whether each box has an address of its own, the same
// that dnsmasq keeps for it and that traffic is marked for.
func (r *Result) prove(ctx context.Context, list []calls.DeviceSummary) error {
	for _, b := range r.Boxes {
		mac, err := model.ParseMAC(b.MAC.String())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(d calls.DeviceSummary) bool { return d.MAC == mac })
		if i < 0 {
			return fmt.Errorf("%s at %s is not in the list of devices", b.Name, mac)
		}
		if _, err := b.HasAddress(list[i].Address); err != nil {
			return err
		}
		if err := r.Home.Offers(ctx, b.Box, list[i].Address); err != nil {
			return err
		}
		if slices.Contains(r.Addresses, list[i].Address) {
			return fmt.Errorf("%s and another box both have %s", b.Name, list[i].Address)
		}
		r.Addresses = append(r.Addresses, list[i].Address)
	}
	slices.SortFunc(r.Addresses, netip.Addr.Compare)
	return nil
}
