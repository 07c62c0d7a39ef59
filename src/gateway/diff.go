package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"homeconf/src/model"
)

// wanted says whether a device is among those asked for; no ids ask for all.
func wanted(id model.DeviceID, ids []model.DeviceID) bool {
	return len(ids) == 0 || slices.Contains(ids, id)
}

// verifyAll is Verify for any Gateway. The slow read-back of reservations runs
// beside the others.
func verifyAll(ctx context.Context, g Gateway, want model.GatewayState) ([]model.Check, error) {
	type result struct {
		checks []model.Check
		err    error
	}
	first := make(chan result, 1)
	go func() {
		c, err := g.VerifyReservations(ctx, want)
		first <- result{c, err}
	}()
	marks, err1 := g.VerifyMarks(ctx, want)
	multicast, err2 := g.VerifyMulticast(ctx, want)
	r := <-first
	return slices.Concat(r.checks, marks, multicast), errors.Join(r.err, err1, err2)
}

// line is one thing in force, in words.
type line struct {
	what   string
	device model.DeviceID
	text   string
}

// stateLines tells a state as lines in a fixed order.
func stateLines(s model.GatewayState) []line {
	var out []line
	for _, r := range s.Reservations {
		out = append(out, line{WhatReservation, r.Device, reservationText(r.Address, r.MACs)})
	}
	for _, m := range s.Marks {
		v, ok := m.Class.DSCP()
		if !ok {
			continue
		}
		for _, a := range append([]netip.Addr{m.Address}, m.Groups...) {
			out = append(out, line{WhatMark, m.Device, fmt.Sprintf("%s DSCP %d (%s)", a, v, m.Class)})
		}
	}
	if p := s.Multicast; p != nil {
		out = append(out, line{what: WhatProxy, text: proxyText(*p)})
	}
	sort.Slice(out, func(i, j int) bool { return compareLines(out[i], out[j]) < 0 })
	return slices.Compact(out)
}

func reservationText(a netip.Addr, macs []model.MAC) string {
	s := make([]string, len(macs))
	for i, m := range macs {
		s[i] = m.String()
	}
	slices.Sort(s)
	return fmt.Sprintf("%s for %s", a, strings.Join(s, " "))
}

func proxyText(p model.MulticastPath) string {
	s := fmt.Sprintf("%s to %s", p.Upstream, p.Downstream)
	for _, n := range p.AltNets {
		s += " " + n.String()
	}
	return s
}

// diffState is what leads from one state to another, additions first.
func diffState(from, to model.GatewayState) []Step {
	have, want := stateLines(from), stateLines(to)
	steps := missing(Added, want, have)
	return append(steps, missing(Removed, have, want)...)
}

// missing makes a step of every line that is not in others. Both are sorted.
func missing(a Action, lines, others []line) []Step {
	var steps []Step
	for _, l := range lines {
		if _, ok := slices.BinarySearchFunc(others, l, compareLines); !ok {
			steps = append(steps, Step{a, l.what, l.device, l.text})
		}
	}
	return steps
}

func compareLines(a, b line) int {
	return cmp.Or(cmp.Compare(a.what, b.what), cmp.Compare(a.device, b.device), cmp.Compare(a.text, b.text))
}

func sameReservation(a, b model.Reservation) bool {
	return a.Device == b.Device && reservationText(a.Address, a.MACs) == reservationText(b.Address, b.MACs)
}

func cloneState(s model.GatewayState) model.GatewayState {
	c := model.GatewayState{Reservations: slices.Clone(s.Reservations), Marks: slices.Clone(s.Marks)}
	for i := range c.Reservations {
		c.Reservations[i].MACs = slices.Clone(c.Reservations[i].MACs)
	}
	for i := range c.Marks {
		c.Marks[i].Groups = slices.Clone(c.Marks[i].Groups)
	}
	if s.Multicast != nil {
		p := *s.Multicast
		p.AltNets = slices.Clone(p.AltNets)
		c.Multicast = &p
	}
	return c
}

func proxyMissing() model.Finding {
	return finding(FindingProxyMissing, "", "IPTV needs an IGMP proxy between the outside and the home network, and igmpproxy is not installed",
		"install the package igmpproxy")
}
