package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"homeconf/src/model"
)

// Memory is a Gateway that lives in memory, for tests. It behaves as a real one
// does: it refuses what is in another's way, remembers only what was applied,
// undoes what a failing writer left half done, and answers Verify from its own
// state. It prints itself, so that a test can compare whole states.
type Memory struct {
	// OnLAN is told of every address that the LAN was given back.
	OnLAN func(netip.Prefix)

	mu      sync.Mutex
	network model.Network
	state   model.GatewayState
	reloads map[string]int
	failing map[Point][]error
	sets    int
	log     []string
	joined  map[netip.Addr]bool
	streams map[netip.Addr]netip.Addr // group → source
	watcher func(what string)
	owned   []model.DeviceID
	lost    int // times that all was lost
	off     map[model.DeviceID]bool
}

// Point is a place where a Memory can be made to fail.
type Point string

// The points of failure, in the order in which Set comes by them.
const (
	PointFacts       Point = "facts"
	PointSet         Point = "set" // before anything is written
	PointDHCP        Point = "dhcp"
	PointMarks       Point = "marks"
	PointProxy       Point = "igmpproxy"
	PointReload      Point = "reload"
	PointReservation Point = "verify-reservations"
	PointVerifyMarks Point = "verify-marks"
	PointMulticast   Point = "verify-multicast"
	PointLAN         Point = "lan"
)

var _ Gateway = (*Memory)(nil)

// NewMemory makes a gateway with the given facts. The reservations in n belong
// to others.
func NewMemory(n model.Network) *Memory {
	return &Memory{network: n, reloads: map[string]int{}, failing: map[Point][]error{},
		joined: map[netip.Addr]bool{}, streams: map[netip.Addr]netip.Addr{}}
}

// Change lets f alter the facts of the home.
func (m *Memory) Change(f func(*model.Network)) {
	m.mu.Lock()
	f(&m.network)
	m.mu.Unlock()
	m.tell("settings")
}

// Fail makes the next calls that come by a point fail, one for each error. A
// Verify point makes its checks say so instead.
func (m *Memory) Fail(p Point, errs ...error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing[p] = append(m.failing[p], errs...)
}

// Watch implements Gateway; Lose and Change are what it tells of.
func (m *Memory) Watch(ctx context.Context, changed func(what string)) error {
	m.mu.Lock()
	m.watcher = changed
	m.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (m *Memory) tell(what string) {
	m.mu.Lock()
	f := m.watcher
	m.mu.Unlock()
	if f != nil {
		f(what)
	}
}

// Lose takes everything of ours away behind the configurator's back, as a
// restored backup or a stopped firewall does.
func (m *Memory) Lose() {
	m.mu.Lock()
	m.state = model.GatewayState{}
	m.lost++
	m.mu.Unlock()
	m.tell("firewall, settings")
}

// Delete takes the reservations of some devices away, as a person does.
func (m *Memory) Delete(ids ...model.DeviceID) {
	m.mu.Lock()
	m.state.Reservations = slices.DeleteFunc(slices.Clone(m.state.Reservations), func(r model.Reservation) bool { return slices.Contains(ids, r.Device) })
	m.mu.Unlock()
	m.tell("settings")
}

// SwitchOff disables a device's reservations.
func (m *Memory) SwitchOff(id model.DeviceID) {
	m.mu.Lock()
	if m.off == nil {
		m.off = map[model.DeviceID]bool{}
	}
	m.off[id] = true
	m.mu.Unlock()
	m.tell("settings")
}

// RestoreLAN implements Gateway.
func (m *Memory) RestoreLAN(ctx context.Context, address netip.Prefix) error {
	m.mu.Lock()
	if err := m.fail(PointLAN); err != nil {
		m.mu.Unlock()
		return err
	}
	m.network.LAN.Prefix = address
	m.log = append(m.log, "LAN "+address.String())
	m.reloads["network"]++
	after := m.OnLAN
	m.mu.Unlock()
	if after != nil {
		after(address)
	}
	m.tell("network")
	return nil
}

// Join makes the proxy have joined a group upstream.
func (m *Memory) Join(group netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined[group] = true
}

// Stream makes a stream flow from source to a group.
func (m *Memory) Stream(source, group netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams[group] = source
}

// State is what is in force.
func (m *Memory) State() model.GatewayState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cloneState(m.state)
}

// Reloads counts the reloads of a package.
func (m *Memory) Reloads(pkg string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reloads[pkg]
}

// Sets counts the calls of Set that changed something.
func (m *Memory) Sets() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sets
}

// Transcript is every step ever done, and every failure.
func (m *Memory) Transcript() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

// String prints what is in force, one line each, in a fixed order.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, l := range stateLines(m.state) {
		fmt.Fprintf(&b, "%s %s %s\n", l.what, l.device, l.text)
	}
	return b.String()
}

func (m *Memory) fail(p Point) error {
	q := m.failing[p]
	if len(q) == 0 {
		return nil
	}
	m.failing[p] = q[1:]
	return q[0]
}

// Facts is what the gateway was made with, and what Set made of it.
func (m *Memory) Facts(ctx context.Context) (model.Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return model.Network{}, err
	}
	if err := m.fail(PointFacts); err != nil {
		return model.Network{}, fmt.Errorf("facts of the gateway: %w", err)
	}
	n := m.network
	n.Leases = slices.Clone(n.Leases)
	n.Neighbors = slices.Clone(n.Neighbors)
	n.Ports = slices.Clone(n.Ports)
	n.Reservations = slices.Clone(n.Reservations)
	n.Owned, n.Rest = slices.Clone(m.owned), fmt.Sprint(m.lost, m.network.Reservations)
	nth := map[model.DeviceID]int{}
	for _, r := range m.state.Reservations {
		n.Reservations = append(n.Reservations, model.HostEntry{Section: model.SectionName(r.Device, nth[r.Device]),
			Owner: r.Device, Name: r.Name, MACs: slices.Clone(r.MACs), Address: r.Address, Enabled: !m.off[r.Device]})
		nth[r.Device]++
	}
	if p := m.state.Multicast; p != nil && n.Multicast.Installed {
		n.Multicast = model.MulticastFact{Installed: true, Running: true, Configured: true, Ours: true, Upstream: p.Upstream,
			Downstream: []string{p.Downstream}, Interfaces: []string{n.WAN.Device, n.LAN.Device}}
	}
	return n, nil
}

// Set makes the state the wanted one.
func (m *Memory) Set(ctx context.Context, want model.GatewayState) (Change, error) {
	if err := check(want); err != nil {
		return Change{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Change{}, err
	}
	if err := m.fail(PointSet); err != nil {
		return Change{}, err
	}
	allowed, findings := admit(want, m.network.Reservations)
	if allowed.Multicast != nil && !m.network.Multicast.Installed {
		allowed.Multicast = nil
		findings = append(findings, proxyMissing())
	}
	before, after := m.state, cloneState(allowed)
	c := Change{Steps: diffState(before, after), Findings: findings}
	m.owned = nil
	for _, r := range after.Reservations {
		if !slices.Contains(m.owned, r.Device) {
			m.owned = append(m.owned, r.Device)
		}
	}
	if c.Empty() {
		return c, nil
	}
	touched := map[string]bool{}
	for _, s := range c.Steps {
		touched[s.What] = true
	}
	for _, w := range []struct {
		what  string
		point Point
	}{{WhatReservation, PointDHCP}, {WhatMark, PointMarks}, {WhatProxy, PointProxy}} {
		if !touched[w.what] {
			continue
		}
		if err := m.fail(w.point); err != nil {
			m.log = append(m.log, "failed "+w.what+": "+err.Error())
			return Change{Findings: findings}, fmt.Errorf("write %s: %w", w.what, err)
		}
	}
	m.sets++
	m.state = after
	for _, p := range []struct{ what, pkg string }{{WhatReservation, "dhcp"}, {WhatProxy, "igmpproxy"}} {
		if !touched[p.what] {
			continue
		}
		if err := m.fail(PointReload); err != nil {
			m.state = before
			m.log = append(m.log, "failed reload "+p.pkg+": "+err.Error())
			return Change{Findings: findings}, fmt.Errorf("reload %s: %w", p.pkg, err)
		}
		m.reloads[p.pkg]++
		c.Steps = append(c.Steps, Step{Action: Reload, What: WhatService, Text: p.pkg})
	}
	m.log = append(m.log, c.Lines()...)
	return c, nil
}

// Verify is the three below together.
func (m *Memory) Verify(ctx context.Context, want model.GatewayState) ([]model.Check, error) {
	return verifyAll(ctx, m, want)
}

// VerifyReservations compares with what is in force.
func (m *Memory) VerifyReservations(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(PointReservation); err != nil {
		return nil, err
	}
	var out []model.Check
	for _, r := range want.Reservations {
		if !wanted(r.Device, ids) {
			continue
		}
		seen := "no offer"
		ok := slices.ContainsFunc(m.state.Reservations, func(h model.Reservation) bool { return sameReservation(h, r) })
		if ok {
			seen = fmt.Sprintf("the DHCP server offers %s to %s", r.Address, r.MACs[0])
		}
		out = append(out, model.Check{Device: r.Device, What: WhatReservation, OK: ok, Seen: seen})
	}
	return out, ctx.Err()
}

// VerifyMarks compares with what is in force.
func (m *Memory) VerifyMarks(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(PointVerifyMarks); err != nil {
		return nil, err
	}
	have := map[line]bool{}
	for _, l := range stateLines(model.GatewayState{Marks: m.state.Marks}) {
		have[l] = true
	}
	var out []model.Check
	for _, l := range stateLines(model.GatewayState{Marks: want.Marks}) {
		if !wanted(l.device, ids) {
			continue
		}
		c := model.Check{Device: l.device, What: WhatMark, OK: have[l], Seen: l.text}
		if !c.OK {
			c.Seen = "no rule for " + l.text
		}
		out = append(out, c)
	}
	return out, ctx.Err()
}

// VerifyMulticast compares with what is in force, joined and flowing.
func (m *Memory) VerifyMulticast(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(PointMulticast); err != nil {
		return nil, err
	}
	var out []model.Check
	if p := want.Multicast; p != nil {
		ok := m.state.Multicast != nil
		seen := "the IGMP proxy has no interfaces"
		if ok {
			seen = fmt.Sprintf("interfaces %s and %s", m.network.WAN.Device, m.network.LAN.Device)
		}
		out = append(out, model.Check{What: WhatProxy, OK: ok, Seen: seen})
	}
	for _, mk := range want.Marks {
		if !wanted(mk.Device, ids) {
			continue
		}
		for _, g := range mk.Groups {
			c := model.Check{Device: mk.Device, What: WhatGroup, OK: m.joined[g], Seen: g.String() + " is not joined upstream"}
			if c.OK {
				c.Seen = fmt.Sprintf("%s joined on %s", g, m.network.WAN.Device)
			}
			out = append(out, c)
			src, ok := m.streams[g]
			c = model.Check{Device: mk.Device, What: WhatStream, OK: ok, Seen: "no stream of " + g.String() + " yet"}
			if ok {
				c.Seen = fmt.Sprintf("(%s, %s) from %s to %s", src, g, m.network.WAN.Device, m.network.LAN.Device)
			}
			out = append(out, c)
		}
	}
	return out, ctx.Err()
}
