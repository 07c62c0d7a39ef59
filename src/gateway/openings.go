package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"homeconf/src/gateway/iptables"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/uci"
)

// WhatOpening is a step or a check about a port opening.
const WhatOpening = "opening"

// The kinds of findings about openings.
const (
	FindingOpeningConflict    = "opening-conflict"     // something else has the port
	FindingOpeningUnsupported = "openings-unsupported" // there is no way to make one
	FindingOpeningOff         = "opening-off"          // somebody switched our section off
	FindingOpeningFlows       = "opening-flows"        // what was established could not be ended
)

// opener is what openings need of gateway/iptables.
type opener interface {
	ReadOpenings(ctx context.Context) (iptables.Openings, error)
	PutOpenings(ctx context.Context, from, to iptables.Openings) error
	PortsLed(ctx context.Context, lan string) ([]model.Occupied, error)
}

func (r *Router) opener() (opener, error) {
	t, err := r.tables()
	if err != nil {
		return nil, err
	}
	o, ok := t.(opener)
	if !ok {
		return nil, fmt.Errorf("%w: no NAT", iptables.ErrUnsupported)
	}
	return o, nil
}

// openPorts leaves out what may not be written: an opening at a port that
// something else has, or that is wanted twice.
func openPorts(want []model.Redirect, taken []model.Occupied) ([]model.Redirect, []model.Finding) {
	var out []model.Redirect
	var found []model.Finding
	for _, r := range want {
		by := Collision(r.Outer(), taken)
		if by == "" {
			if i := slices.IndexFunc(out, func(o model.Redirect) bool { return o.Outer() == r.Outer() }); i >= 0 {
				by = "the opening for " + string(out[i].Device)
			}
		}
		if by == "" {
			out = append(out, r)
			continue
		}
		f := finding(FindingOpeningConflict, r.Device, fmt.Sprintf("port %s can't be opened: %s has it", r.Outer(), by),
			"take the port from the other, or close the opening and make one with another port outside (--external)")
		f.ID += ":" + r.Outer().String()
		found = append(found, f)
	}
	return out, found
}

// Collision says who has a port already; empty: nobody.
func Collision(p model.Port, taken []model.Occupied) string {
	for _, o := range taken {
		if o.Has(p) {
			return o.By
		}
	}
	return ""
}

// Occupied lists the ports of the outside that something else has: redirects of
// others, UPnP's mappings, and services of the gateway's own that the outside
// can reach.
func (r *Router) Occupied(ctx context.Context) ([]model.Occupied, error) {
	file, err := r.load("firewall")
	if err != nil {
		return nil, fmt.Errorf("look for ports in use: %w", err)
	}
	wan := gwuci.Zone(file, r.cfg.WANNetwork)
	out := gwuci.PortsTaken(file, wan)
	for _, name := range []string{"var/run/miniupnpd.leases", "var/upnp.leases"} {
		if b, err := readSome(filepath.Join(r.cfg.Root, name)); err == nil {
			out = append(out, parseUPnP(string(b))...)
		}
	}
	fw := r.firewall()
	if fw != model.FirewallFW4 {
		if t, err := r.opener(); err == nil {
			led, err := t.PortsLed(ctx, r.cfg.LANDevice)
			if err != nil {
				return nil, fmt.Errorf("look for ports in use: %w", err)
			}
			out = append(out, led...)
		}
	}
	listening, err := r.listeners(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for ports in use: %w", err)
	}
	// OpenWrt's own firewall keeps the outside from what it does not let in.
	open := []model.Occupied{{First: 1, Last: 65535}}
	if fw == model.FirewallFW4 || fw == model.FirewallFW3 {
		open = gwuci.PortsOpen(file, wan)
	}
	for _, p := range listening {
		if slices.ContainsFunc(open, func(o model.Occupied) bool { return o.Has(p) }) {
			out = append(out, model.Occupied{Protocol: p.Protocol, First: p.Number, Last: p.Number, By: "a service of the gateway's own"})
		}
	}
	return out, nil
}

// outside finds the device of the outside.
func (r *Router) outside(ctx context.Context) (n model.Network, links []netlink.Link, err error) {
	links, _, err = r.sides(ctx, &n)
	return n, links, err
}

// openWriter writes the openings: in fw4's configuration where fw4 rules, else
// in chains of our own.
func (r *Router) openWriter(allowed model.GatewayState, change *Change, had *[]model.Redirect) writer {
	want := allowed.Redirects
	if r.firewall() == model.FirewallFW4 {
		return r.redirectWriter(want, change, had)
	}
	var before iptables.Openings
	known := false
	put := func(ctx context.Context, t opener, from, to iptables.Openings) error {
		if err := t.PutOpenings(ctx, from, to); err != nil {
			return err
		}
		r.opened = &to
		return nil
	}
	return writer{
		name: WhatOpening,
		write: func(ctx context.Context) ([]Step, error) {
			if len(want) == 0 && r.opened != nil && r.opened.Empty() {
				return nil, nil
			}
			t, err := r.opener()
			if err != nil && len(want) == 0 {
				return nil, nil // where nothing could be made nothing is
			}
			var after iptables.Openings
			if err == nil {
				before, err = t.ReadOpenings(ctx)
			}
			if err == nil {
				known, *had = true, ledBy(before)
				var n model.Network
				if len(want) > 0 {
					n, _, err = r.outside(ctx)
				}
				if err == nil {
					after, err = iptables.WantOpenings(want, n.WAN.Device)
				}
			}
			if err == nil {
				err = put(ctx, t, before, after)
			}
			if errors.Is(err, iptables.ErrUnsupported) {
				change.Findings = append(change.Findings, finding(FindingOpeningUnsupported, "",
					"ports can't be opened on this gateway: "+err.Error(), "install the package iptables"))
				return nil, nil
			}
			if err != nil {
				if !known && len(want) == 0 {
					r.log.Info("the nat table can't be looked at, so nothing of ours is there", "err", err)
					return nil, nil
				}
				return nil, fmt.Errorf("write openings: %w", err)
			}
			return openSteps(before, after), nil
		},
		undo: func(ctx context.Context) error {
			if !known {
				return nil
			}
			t, err := r.opener()
			if err != nil {
				return err
			}
			now, err := t.ReadOpenings(ctx)
			if err != nil || now.Equal(before) {
				return err
			}
			if err := put(ctx, t, now, before); err != nil {
				return err
			}
			if now, err = t.ReadOpenings(ctx); err == nil && !now.Equal(before) {
				err = errors.New("the openings are not what they were")
			}
			return err
		},
	}
}

// openSteps tells what became of our chains.
func openSteps(before, after iptables.Openings) []Step {
	had, has := redirectsOf(before), redirectsOf(after)
	steps := missing(Added, has, had)
	steps = append(steps, missing(Removed, had, has)...)
	if len(steps) == 0 && !before.Equal(after) {
		steps = append(steps, Step{Action: Changed, What: WhatOpening, Text: "the chains " + iptables.OpenChain + " and " + iptables.NATChain})
	}
	return steps
}

// redirectsOf are the openings that our chains hold.
func redirectsOf(o iptables.Openings) []line {
	var s model.GatewayState
	s.Redirects = ledBy(o)
	return stateLines(s)
}

func ledBy(o iptables.Openings) (out []model.Redirect) {
	for _, rule := range o[1].Rules {
		if r, ok := iptables.ParseOpening(rule); ok {
			out = append(out, r)
		}
	}
	return out
}

// redirectWriter writes the firewall package.
func (r *Router) redirectWriter(want []model.Redirect, change *Change, had *[]model.Redirect) writer {
	var saved gwuci.Saved
	return writer{
		name: WhatOpening,
		write: func(ctx context.Context) ([]Step, error) {
			// The marks are sections of the same file.
			r.fileMu.Lock()
			defer r.fileMu.Unlock()
			ours, off := gwuci.Redirects(r.lenient("firewall"))
			if len(want) == 0 && len(ours) == 0 {
				return nil, nil
			}
			for name, o := range ours {
				if off[name] {
					f := finding(FindingOpeningOff, o.Device, fmt.Sprintf("somebody switched the opening of port %s off, in section %s of /etc/config/firewall", o.Outer(), name),
						"switch it on there, or close the opening for good: homeconf port close ID")
					f.ID += ":" + name
					change.Findings = append(change.Findings, f)
				}
			}
			known := false
			done, was, old, err := gwuci.SetRedirects(ctx, r.dir, func() error { known = r.seen("firewall"); return r.pending.begin("firewall") }, r.zone(),
				func(f *uci.File) ([]model.Redirect, gwuci.Zones) {
					zones := gwuci.Zones{WAN: gwuci.Zone(f, r.cfg.WANNetwork), LAN: gwuci.Zone(f, r.cfg.LANNetwork)}
					// Again, inside the lock: somebody may have come first.
					now, _ := openPorts(want, gwuci.PortsTaken(f, zones.WAN))
					return now, zones
				})
			saved, *had = old, was
			if err != nil {
				return nil, fmt.Errorf("write openings: %w", err)
			}
			if known && len(done) > 0 {
				r.wrote("firewall")
			}
			var steps []Step
			for _, d := range done {
				steps = append(steps, Step{Action(d.Op), WhatOpening, d.Device, fmt.Sprintf("to %s in section %s of /etc/config/firewall", d.Address, d.Section)})
			}
			return steps, nil
		},
		undo: func(ctx context.Context) error { return saved.Restore(ctx, r.dir) },
	}
}

// zone is the system's time zone, in which fw4 reads dates: a file with a POSIX
// TZ string.
func (r *Router) zone() *time.Location {
	b, err := readSome(filepath.Join(r.cfg.Root, "etc/TZ"))
	if err != nil {
		return time.Local
	}
	return posixZone(strings.TrimSpace(string(b)))
}

// posixZone reads a zone such as "CET-1CEST,M3.5.0,M10.5.0/3". package time does
// so at the end of a zone file (RFC 9636), so here is the smallest one.
func posixZone(tz string) *time.Location {
	const data = "\x00\x00\x00\x00\x00\x00UTC\x00"
	// Both blocks are the same: one type, UTC. The zone that follows rules.
	head := "TZif2" + strings.Repeat("\x00", 15) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04"
	if loc, err := time.LoadLocationFromTZData("gateway", []byte(head+data+head+data+"\n"+tz+"\n")); err == nil {
		return loc
	}
	return time.UTC
}

// endFlows ends what came in by openings that are gone, once the firewall has
// taken that up: what it still leads in comes back at once.
func (r *Router) endFlows(ctx context.Context, had, want []model.Redirect, change *Change) {
	gone := slices.DeleteFunc(append(r.uncut, had...), func(h model.Redirect) bool {
		return slices.ContainsFunc(want, func(w model.Redirect) bool { return leadsLike(w, h) })
	})
	r.uncut = nil
	if len(gone) == 0 {
		return
	}
	if r.firewall() == model.FirewallFW4 {
		r.awaitGone(ctx, gone)
	}
	n, err := cutFlows(r.cfg.Proc, gone)
	if err != nil {
		r.uncut = gone // the next Set tries again
		change.Findings = append(change.Findings, finding(FindingOpeningFlows, "",
			"an opening is closed, but connections that came in by it could not be ended: "+err.Error(),
			"install the package kmod-nf-conntrack-netlink, or restart the gateway"))
		return
	}
	if n > 0 {
		change.Steps = append(change.Steps, Step{Action: Removed, What: WhatOpening, Text: strconv.Itoa(n) + " connections through what is closed"})
	}
}

func leadsLike(a, b model.Redirect) bool {
	return a.Outer() == b.Outer() && a.Address == b.Address && a.Port == b.Port
}

// awaitGone waits until fw4 has loaded its configuration without the openings.
func (r *Router) awaitGone(ctx context.Context, gone []model.Redirect) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 500*time.Millisecond) {
		loaded, err := r.loadedRedirects(ctx)
		if err == nil && !slices.ContainsFunc(loaded, func(l loadedRedirect) bool {
			return slices.ContainsFunc(gone, func(g model.Redirect) bool { return leadsLike(g, l.Redirect) })
		}) {
			return
		}
		sleep(ctx, pause)
	}
}

// VerifyOpenings compares the kernel's rules with those wanted.
func (r *Router) VerifyOpenings(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	list := slices.DeleteFunc(slices.Clone(want.Redirects), func(o model.Redirect) bool { return !wanted(o.Device, ids) })
	if len(list) == 0 {
		return nil, nil
	}
	if r.firewall() == model.FirewallFW4 {
		return r.verifyRedirects(ctx, list)
	}
	var state iptables.Openings
	t, err := r.opener()
	if err == nil {
		state, err = t.ReadOpenings(ctx)
	}
	if errors.Is(err, iptables.ErrUnsupported) {
		return nil, nil // Set found that
	}
	if err != nil {
		return nil, fmt.Errorf("read the openings back: %w", err)
	}
	n, _, err := r.outside(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the openings back: %w", err)
	}
	var out []model.Check
	for _, o := range list {
		c := model.Check{Device: o.Device, What: WhatOpening, OK: state.Has(o, n.WAN.Device), Seen: openingText(o)}
		if !c.OK {
			c.Seen = "the chains have no rules for " + c.Seen
		}
		out = append(out, c)
	}
	return out, nil
}

// verifyRedirects looks for the rules in what fw4 has loaded, again and again
// until ctx ends: it may still be loading.
func (r *Router) verifyRedirects(ctx context.Context, list []model.Redirect) ([]model.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		loaded, err := r.loadedRedirects(ctx)
		ours, off := gwuci.Redirects(r.lenient("firewall"))
		missing := false
		var checks []model.Check
		for _, o := range list {
			skip := false
			for name, h := range ours {
				skip = skip || off[name] && h.Device == o.Device && h.Outer() == o.Outer()
			}
			if skip {
				continue // a person's will
			}
			c := model.Check{Device: o.Device, What: WhatOpening, Seen: "fw4 has no rule for " + openingText(o)}
			for _, l := range loaded {
				if !leadsLike(o, l.Redirect) {
					continue
				}
				if d := l.Stop.Sub(o.Stop).Abs(); d > time.Minute {
					c.Seen = fmt.Sprintf("fw4 keeps %s open until %s", openingText(o), l.Stop.UTC().Format(time.RFC3339))
					continue
				}
				c.OK, c.Seen = true, l.text
				break
			}
			missing = missing || !c.OK
			checks = append(checks, c)
		}
		if !missing {
			return checks, nil
		}
		sleep(ctx, pause)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return checks, fmt.Errorf("read the openings back: list table inet fw4: %w", err)
			}
			return checks, nil
		}
	}
}

// loadedRedirect is a redirect as nft prints it.
type loadedRedirect struct {
	model.Redirect
	text string
}

func (r *Router) loadedRedirects(ctx context.Context) ([]loadedRedirect, error) {
	cmd := exec.CommandContext(ctx, r.cfg.NFT, "-n", "list", "table", "inet", "fw4")
	cmd.Env = append(os.Environ(), "TZ=UTC0") // in which it prints dates
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return parseRedirects(string(out)), nil
}

// parseRedirects finds the rules of nft's listing that lead one port from the
// outside to a host: `meta nfproto 2 tcp dport 443 meta time "…"-"…" counter …
// dnat ip to 192.168.1.50:443 comment "!fw4: …"`. Reflections for the LAN have
// an address of the LAN's as source and are not looked for.
func parseRedirects(listing string) []loadedRedirect {
	var out []loadedRedirect
	for l := range strings.Lines(listing) {
		l = strings.TrimSpace(l)
		_, to, ok := strings.Cut(l, " dnat ip to ")
		if !ok || strings.Contains(l, "ip saddr ") || len(out) > maxLoaded {
			continue
		}
		w := loadedRedirect{text: l[:min(len(l), 240)]}
		for _, p := range []model.Protocol{model.TCP, model.UDP} {
			if _, after, ok := strings.Cut(l, string(p)+" dport "); ok {
				word, _, _ := strings.Cut(after, " ")
				n, _ := strconv.ParseUint(word, 10, 16)
				w.Protocol, w.External = p, uint16(n)
			}
		}
		word, _, _ := strings.Cut(to, " ")
		host, port, _ := strings.Cut(word, ":")
		w.Address = parseAddr(host)
		n, _ := strconv.ParseUint(port, 10, 16)
		w.Port = uint16(n)
		if _, after, ok := strings.Cut(l, `"-"`); ok {
			date, _, _ := strings.Cut(after, `"`)
			w.Stop, _ = time.Parse(time.DateTime, date)
		}
		if w.Outer().Valid() && w.Port > 0 && w.Address.Is4() {
			out = append(out, w)
		}
	}
	return out
}

// maxLoaded bounds the redirects that are looked at.
const maxLoaded = 4096

func openingText(o model.Redirect) string {
	return fmt.Sprintf("%s to %s:%d until %s", o.Outer(), o.Address, o.Port, o.Stop.UTC().Format("2006-01-02 15:04:05"))
}

// openingsChanged compares our chains with what Set left there.
func (r *Router) openingsChanged(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened == nil || r.opened.Empty() {
		return false
	}
	t, err := r.opener()
	if err != nil {
		return true
	}
	now, err := t.ReadOpenings(ctx)
	return err != nil || !now.Equal(*r.opened)
}
