package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"homeconf/src/gateway/iptables"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
)

// writer is one thing that Set writes to. Each is atomic by itself: what is
// wanted is there before what isn't is gone.
type writer struct {
	name  string
	write func(ctx context.Context) ([]Step, error)
	// undo puts back what write found, and makes sure of it.
	undo func(ctx context.Context) error
}

// undoTime bounds putting back, which also happens when the caller's time is up.
const undoTime = 10 * time.Second

// Set compares what is wanted with what is there, writes the difference, and
// asks each package that changed to reload once. The writers run side by side;
// when one fails, the others' work is undone in reverse order.
func (r *Router) Set(ctx context.Context, want model.GatewayState) (Change, error) {
	if err := check(want); err != nil {
		return Change{}, fmt.Errorf("set the gateway: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()

	want = r.meant(want)
	dhcp, err := r.load("dhcp")
	if err != nil {
		return Change{}, fmt.Errorf("set the gateway: %w", err)
	}
	allowed, findings := admit(want, gwuci.Hosts(dhcp))
	change := Change{Findings: append(findings, r.findHidden("dhcp")...)}
	allowed.Multicast = r.admitProxy(allowed.Multicast, &change)

	writers := []writer{r.hostWriter(allowed), r.proxyWriter(allowed, gwuci.IGMPProxy), r.proxyWriter(allowed, gwuci.OMCProxy), r.markWriter(allowed, &change), r.uciMarkWriter(allowed)}
	steps := make([][]Step, len(writers))
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { steps[i], errs[i] = w.write(ctx) })
	}
	wg.Wait()
	change.Steps = slices.Concat(steps...)

	err = errors.Join(errs...)
	if err == nil {
		err = r.reload(ctx, &change)
	}
	if err == nil {
		// Last, while the services start: what the ledger has and the files
		// have not was taken away by somebody else.
		err = r.ledger.write(objects(allowed))
	}
	if err != nil {
		return r.undo(ctx, writers, steps, errs, change, fmt.Errorf("set the gateway: %w", err))
	}
	return change, nil
}

// undo takes back what the writers did, the last one first; of one that failed,
// what it may have done none the less.
func (r *Router) undo(ctx context.Context, writers []writer, steps [][]Step, failed []error, change Change, cause error) (Change, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	errs := []error{cause}
	asked := change.Reloaded()
	for i, w := range slices.Backward(writers) {
		if len(steps[i]) == 0 && failed[i] == nil {
			continue
		}
		if err := w.undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", w.name, err))
			continue
		}
		if len(steps[i]) > 0 {
			change.Steps = append(change.Steps, Step{Action: Undone, What: w.name, Text: "as it was before"})
		}
	}
	// Who was already told to take the change up is told to take it back;
	// whose reload is still due gets it with the next Set.
	for _, pkg := range asked {
		if err := r.cfg.Reloader.Reload(ctx, pkg); err != nil {
			errs = append(errs, err)
		}
	}
	return change, errors.Join(errs...)
}

// reload asks every package that changed, or whose reload a crash cut off.
func (r *Router) reload(ctx context.Context, change *Change) error {
	for _, pkg := range r.pending.asks() {
		if err := r.cfg.Reloader.Reload(ctx, pkg); err != nil {
			return err
		}
		change.Steps = append(change.Steps, Step{Action: Reload, What: WhatService, Text: pkg})
		if err := r.pending.reloaded(pkg); err != nil {
			return err
		}
	}
	return nil
}

// hostWriter writes the dhcp package.
func (r *Router) hostWriter(allowed model.GatewayState) writer {
	var saved gwuci.Saved
	return writer{
		name: WhatReservation,
		write: func(ctx context.Context) ([]Step, error) {
			known := false
			done, old, err := gwuci.SetHosts(ctx, r.dir, func() error { known = r.seen("dhcp"); return r.pending.begin("dhcp") },
				func(hosts []model.HostEntry) []model.Reservation {
					// Again, inside the lock: somebody may have come first.
					now, _ := admit(allowed, hosts)
					return now.Reservations
				})
			saved = old
			if err != nil {
				return nil, fmt.Errorf("write reservations: %w", err)
			}
			if known {
				r.wrote("dhcp")
			}
			var steps []Step
			for _, d := range done {
				steps = append(steps, Step{Action(d.Op), WhatReservation, d.Device, reservationText(d.Address, d.MACs)})
			}
			return steps, nil
		},
		undo: func(ctx context.Context) error { return saved.Restore(ctx, r.dir) },
	}
}

// findHidden says when what we write has no effect: from OpenWrt 24.10 a file
// in /var/run/uci hides the one in /etc/config.
func (r *Router) findHidden(pkg string) []model.Finding {
	if !r.dir.Overridden(pkg) {
		return nil
	}
	return []model.Finding{{ID: FindingOverride + ":" + pkg, Kind: FindingOverride,
		Text: fmt.Sprintf("a file /var/run/uci/%s hides /etc/config/%s, so that what homeconf writes there has no effect", pkg, pkg),
		Step: fmt.Sprintf("find out who made /var/run/uci/%s, and remove it", pkg)}}
}

// markWriter writes our chain. A gateway that can't mark still does the rest.
func (r *Router) markWriter(allowed model.GatewayState, change *Change) writer {
	var before iptables.State
	known := false
	return writer{
		name: WhatMark,
		write: func(ctx context.Context) ([]Step, error) {
			rules := iptables.Rules(allowed.Marks, r.cfg.LANDevice)
			steps, err := func() ([]Step, error) {
				t, err := r.tables()
				if err != nil {
					return nil, err
				}
				if before, err = t.Read(ctx); err != nil {
					return nil, err
				}
				known = true
				after, err := iptables.Want(rules)
				if err != nil {
					return nil, err
				}
				if before.Equal(after) {
					r.keep(after)
					return nil, nil
				}
				if err = t.Put(ctx, before, after); err != nil {
					return nil, err
				}
				r.keep(after)
				return markSteps(before, after), nil
			}()
			if errors.Is(err, iptables.ErrUnsupported) {
				if len(rules) > 0 && !r.marksByUCI() {
					change.Findings = append(change.Findings, finding(FindingMarksUnsupported, "",
						"traffic can't be marked on this gateway: "+err.Error(), "install the packages iptables-nft and iptables-mod-ipopt"))
				}
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("write marks: %w", err)
			}
			return steps, nil
		},
		undo: func(ctx context.Context) error {
			if !known {
				return nil
			}
			t, err := r.tables()
			if err != nil {
				return err
			}
			now, err := t.Read(ctx)
			if err != nil || now.Equal(before) {
				return err
			}
			if err := t.Put(ctx, now, before); err != nil {
				return err
			}
			r.keep(before)
			if now, err = t.Read(ctx); err == nil && !now.Equal(before) {
				err = errors.New("the rules are not what they were")
			}
			return err
		},
	}
}

// keep notes our chain as it was left, for Watch.
func (r *Router) keep(s iptables.State) {
	r.put = &s
	if s.Empty() {
		r.put = nil
	}
}

// markSteps tells what became of our chain.
func markSteps(before, after iptables.State) []Step {
	var steps []Step
	step := func(a Action, rule string) {
		m, ok := iptables.Parse(rule)
		if !ok {
			steps = append(steps, Step{Action: a, What: WhatMark, Text: rule})
			return
		}
		s := Step{Action: a, What: WhatMark, Text: fmt.Sprintf("%s DSCP %d", m.Dst, m.DSCP)}
		if len(m.Devices) > 0 {
			s.Device = m.Devices[0]
		}
		steps = append(steps, s)
	}
	for _, rule := range after.Rules {
		if !slices.Contains(before.Rules, rule) {
			step(Added, rule)
		}
	}
	for _, rule := range before.Rules {
		if !slices.Contains(after.Rules, rule) {
			step(Removed, rule)
		}
	}
	if before.Jumps != after.Jumps || len(steps) == 0 {
		a, text := Added, "the jump from FORWARD to HOMECONF_MARK"
		switch {
		case after.Jumps == 0:
			a = Removed
		case before.Jumps > 0:
			a, text = Changed, "the chain HOMECONF_MARK"
		}
		steps = append(steps, Step{Action: a, What: WhatMark, Text: text})
	}
	return steps
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func join[T fmt.Stringer](l []T) string {
	s := make([]string, len(l))
	for i, v := range l {
		s[i] = v.String()
	}
	return strings.Join(s, ", ")
}
