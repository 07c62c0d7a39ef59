package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/gateway/iptables"
	"homeconf/src/gateway/multicast"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
)

// Verify reads everything back.
func (r *Router) Verify(ctx context.Context, want model.GatewayState) ([]model.Check, error) {
	return verifyAll(ctx, r, want)
}

// VerifyMarks compares the kernel's rules with those wanted, rule for rule.
func (r *Router) VerifyMarks(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	rules := slices.DeleteFunc(iptables.Rules(want.Marks, r.cfg.LANDevice), func(rule iptables.Rule) bool {
		return !slices.ContainsFunc(rule.Devices, func(d model.DeviceID) bool { return wanted(d, ids) })
	})
	if len(rules) == 0 {
		return nil, nil
	}
	if r.marksByUCI() {
		return r.verifyUCIMarks(ctx, want, ids)
	}
	t, err := r.tables()
	var state iptables.State
	if err == nil {
		state, err = t.Read(ctx)
	}
	unsupported := errors.Is(err, iptables.ErrUnsupported)
	if err != nil && !unsupported {
		return nil, fmt.Errorf("read the marks back: %w", err)
	}
	var out []model.Check
	for _, rule := range rules {
		ok := state.Has(rule)
		seen := rule.String()
		switch {
		case ok:
		case unsupported:
			seen = err.Error()
		case state.Jumps == 0 && slices.Contains(state.Rules, rule.String()):
			seen = fmt.Sprintf("chain %s is not jumped to from FORWARD", iptables.Chain)
		default:
			seen = fmt.Sprintf("no such rule in chain %s: %s", iptables.Chain, rule)
		}
		for _, d := range rule.Devices {
			if wanted(d, ids) {
				out = append(out, model.Check{Device: d, What: WhatMark, OK: ok, Seen: seen})
			}
		}
	}
	return out, nil
}

// VerifyMulticast looks at the kernel's multicast state, once.
func (r *Router) VerifyMulticast(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want = r.meant(want)
	type groupOf struct {
		device model.DeviceID
		group  netip.Addr
	}
	var groups []groupOf
	for _, m := range want.Marks {
		if wanted(m.Device, ids) {
			for _, g := range m.Groups {
				groups = append(groups, groupOf{m.Device, g})
			}
		}
	}
	if want.Multicast == nil && len(groups) == 0 {
		return nil, nil
	}
	up, down := r.multicastDevices(want.Multicast)
	vifs, err := r.kernel.VIFs()
	if err != nil {
		return nil, fmt.Errorf("look at the IGMP proxy: %w", err)
	}
	var out []model.Check
	if want.Multicast != nil {
		out = append(out, r.checkProxy(vifs, up, down))
	}
	if len(groups) == 0 {
		return out, nil
	}
	joined, err := r.kernel.Memberships()
	if err != nil {
		return out, fmt.Errorf("look at the joined groups: %w", err)
	}
	routes, err := r.kernel.Routes()
	if err != nil {
		return out, fmt.Errorf("look at the streams: %w", err)
	}
	for _, g := range groups {
		c := model.Check{Device: g.device, What: WhatGroup, OK: slices.Contains(joined[up], g.group)}
		c.Seen = fmt.Sprintf("%s joined on %s", g.group, up)
		if !c.OK {
			c.Seen = fmt.Sprintf("%s is not joined on %s", g.group, orNothing(up))
		}
		out = append(out, c, checkStream(g.device, g.group, routes, vifs, up, down))
	}
	return out, nil
}

// multicastDevices are the devices of the way in and the way out: of the wanted
// path, else of what igmpproxy is configured for, else WAN and LAN.
func (r *Router) multicastDevices(path *model.MulticastPath) (up, down string) {
	upstream, downstream := r.cfg.WANNetwork, r.cfg.LANNetwork
	if path != nil {
		upstream, downstream = path.Upstream, path.Downstream
	} else if p := r.proxy(); p.others.Complete() {
		upstream = p.others.Upstream
	} else if p.ours.Complete() {
		upstream = p.ours.Upstream
	}
	networks := gwuci.Networks(r.lenient("network"))
	return r.deviceOf(networks, upstream), r.deviceOf(networks, downstream)
}

func (r *Router) checkProxy(vifs []multicast.VIF, up, down string) model.Check {
	var have []string
	for _, v := range vifs {
		have = append(have, v.Device)
	}
	c := model.Check{What: WhatProxy, OK: up != "" && down != "" && slices.Contains(have, up) && slices.Contains(have, down)}
	switch {
	case c.OK:
		c.Seen = fmt.Sprintf("virtual interfaces %s and %s", up, down)
	case len(have) > 0:
		c.Seen = fmt.Sprintf("virtual interfaces %s, want %s and %s", strings.Join(have, ", "), orNothing(up), orNothing(down))
	default:
		program := cmp.Or(r.proxy().program, gwuci.IGMPProxy)
		c.Seen = "no virtual interfaces; " + program + " is not running"
		if running, err := r.kernel.Running(program); err == nil && running {
			c.Seen = program + " is running, but has no virtual interfaces"
		}
	}
	return c
}

// checkStream looks for a route of the group from the way in to the way out,
// with packets on it.
func checkStream(id model.DeviceID, group netip.Addr, routes []multicast.Route, vifs []multicast.VIF, up, down string) model.Check {
	device := map[int]string{}
	for _, v := range vifs {
		device[v.Index] = v.Device
	}
	seen := fmt.Sprintf("no packet of %s yet", group)
	for _, e := range routes {
		if e.Group != group {
			continue
		}
		var outs []string
		for _, o := range e.Out {
			outs = append(outs, device[o])
		}
		in := "nowhere"
		if e.In >= 0 {
			in = device[e.In]
		}
		text := fmt.Sprintf("(%s, %s) from %s to %s, %d packets", e.Origin, group, in, orNothing(strings.Join(outs, ", ")), e.Packets)
		if e.Flowing() && in == up && slices.Contains(outs, down) {
			return model.Check{Device: id, What: WhatStream, OK: true, Seen: text}
		}
		seen = text
	}
	return model.Check{Device: id, What: WhatStream, Seen: seen}
}
